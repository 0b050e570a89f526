"""Learning from outcomes: samples, fitting, the choice between models, backtests, and the early adjustment."""
