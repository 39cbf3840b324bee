"""The admin pages about what happened, who is told, and by which ways."""

from alerts.admin import channels, notifications, preferences

__all__ = ["channels", "notifications", "preferences"]
