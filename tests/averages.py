"""The averages of weights that an optimizer keeps, for several test files."""

import keras


def averages_of(model):
    """Those of a compiled model's optimizer, as arrays; Keras has no name for them."""
    averages = model.optimizer._model_variables_moving_average
    return [keras.ops.convert_to_numpy(average) for average in averages]
