"""State for machines: `/healthz`, `/readyz` and `/metrics`, and the probes behind them."""
