"""Tracking ids: the names of experiments, as they are given and as addresses hold them. Pure."""

import re

IN_ADDRESSES = r"[A-Za-z0-9._-]{1,64}"
# Clients and proxies take . and .. in an address for directories and normalise them away.
PATTERN = rf"^(?!\.\.?$){IN_ADDRESSES}$"
COMPLAINT = "A tracking id is 1 to 64 letters, digits and . _ -, but not . or .. alone."


def acceptable(tracking_id: str) -> bool:
    return re.fullmatch(PATTERN, tracking_id) is not None
