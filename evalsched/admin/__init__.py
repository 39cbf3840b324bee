"""The admin pages about schedules, their runs, and the beat behind them."""

from evalsched.admin import beat, executions, model_runs, runs, schedules

__all__ = ["beat", "executions", "model_runs", "runs", "schedules"]
