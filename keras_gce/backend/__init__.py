"""The one seam to the tensor library under Keras.

Everything else is written on `keras.ops` and `keras.random`. What those cannot
say is here, once for each backend: the gradient with respect to an input, the
compilation of a function of a model, and a loop that decided examples leave.
"""

import keras

_BACKEND = keras.backend.backend()

if _BACKEND == "tensorflow":
    from keras_gce.backend.tensorflow import (
        SEED_DTYPE,
        accelerators,
        gradient_of,
        replica_id,
        run_compiled,
        second_update,
        state_scope,
        trace_count,
        while_active,
    )
elif _BACKEND == "jax":
    from keras_gce.backend.jax import (
        SEED_DTYPE,
        accelerators,
        gradient_of,
        replica_id,
        run_compiled,
        second_update,
        state_scope,
        trace_count,
        while_active,
    )
elif _BACKEND == "torch":
    from keras_gce.backend.torch import (
        SEED_DTYPE,
        accelerators,
        gradient_of,
        replica_id,
        run_compiled,
        second_update,
        state_scope,
        trace_count,
        while_active,
    )
else:
    raise ImportError(
        "keras_gce attacks and evaluates under the backends tensorflow, jax and torch "
        f"of Keras. Received: KERAS_BACKEND={_BACKEND}"
    )

__all__ = [
    "SEED_DTYPE",
    "accelerators",
    "gradient_of",
    "replica_id",
    "run_compiled",
    "second_update",
    "state_scope",
    "trace_count",
    "while_active",
]
