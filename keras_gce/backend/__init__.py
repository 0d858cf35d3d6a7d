"""The one seam to the tensor library under Keras.

Everything else is written on `keras.ops` and `keras.random`. What those cannot
say is here, once for each backend: the gradient with respect to an input, the
compilation of a function of a model, loops that decided examples leave and in which a
model draws random numbers, a function of arrays, and a loop of train steps.
"""

import keras

from keras_gce.errors import BackendError

_BACKEND = keras.backend.backend()

# One of three; to the type checker all are the first.
if _BACKEND == "tensorflow":
    from keras_gce.backend import tensorflow as _seam
elif _BACKEND == "jax":
    from keras_gce.backend import jax as _seam  # type: ignore[no-redef]
elif _BACKEND == "torch":
    from keras_gce.backend import torch as _seam  # type: ignore[no-redef]
else:
    raise BackendError(
        "keras_gce attacks and evaluates under the backends tensorflow, jax and torch "
        f"of Keras. Received: KERAS_BACKEND={_BACKEND}"
    )

accelerators = _seam.accelerators
eagerly = _seam.eagerly
gradient_of = _seam.gradient_of
gradients_at = _seam.gradients_at
normal = _seam.normal
numpy_function = _seam.numpy_function
on_host = _seam.on_host
own_draws = _seam.own_draws
replica_id = _seam.replica_id
run_compiled = _seam.run_compiled
second_update = _seam.second_update
seeded = _seam.seeded
state_scope = _seam.state_scope
trace_count = _seam.trace_count
training_loop = _seam.training_loop
uniform = _seam.uniform
while_active = _seam.while_active
while_loop = _seam.while_loop

__all__ = [
    "accelerators",
    "eagerly",
    "gradient_of",
    "gradients_at",
    "normal",
    "numpy_function",
    "on_host",
    "own_draws",
    "replica_id",
    "run_compiled",
    "second_update",
    "seeded",
    "state_scope",
    "trace_count",
    "training_loop",
    "uniform",
    "while_active",
    "while_loop",
]
