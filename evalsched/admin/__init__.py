"""The admin pages about schedules, their runs, and the beat behind them."""

from evalsched.admin import beat, runs, schedules

__all__ = ["beat", "runs", "schedules"]
