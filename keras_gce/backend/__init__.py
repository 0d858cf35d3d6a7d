"""The one seam to the tensor library under Keras.

Everything else is written on `keras.ops` and `keras.random`. What those cannot
say is here, once for each backend: the gradient with respect to an input, the
compilation of a function of a model, and a loop that decided examples leave.
"""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_gce.backend.tensorflow import (
        gradient_of,
        replica_id,
        run_compiled,
        trace_count,
        update,
        while_active,
    )
else:
    raise ImportError(
        "keras_gce attacks and evaluates under the TensorFlow backend of Keras only, "
        "so far. Received: KERAS_BACKEND=" + keras.backend.backend()
    )

__all__ = [
    "gradient_of",
    "replica_id",
    "run_compiled",
    "trace_count",
    "update",
    "while_active",
]
