"""The model: a daily rollup in; risks, reasons, states and advice out. Pure functions, without input or output."""
