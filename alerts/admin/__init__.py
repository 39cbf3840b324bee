"""The admin pages about what happened, who is told, and by which ways."""

from alerts.admin import alerts, channels, notifications, preferences, rules, traces

__all__ = ["alerts", "channels", "notifications", "preferences", "rules", "traces"]
