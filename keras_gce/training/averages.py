"""The averages of weights that an optimizer keeps (`use_ema`)."""

import keras

__all__ = ["set_averages"]


def set_averages(optimizer: keras.Optimizer) -> None:
    """Sets the averages that an optimizer keeps, if any, to the weights as they are.

    Keras has no public name for them. Where weights are given back without it, those
    who look at the averages next (`SwapEMAWeights`, the end of `fit`) find others.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    if optimizer.use_ema:
        for weight, average in zip(
            optimizer._trainable_variables,
            optimizer._model_variables_moving_average,
            strict=True,
        ):
            average.assign(weight)
