"""What stands in addresses beside the identifiers that Django knows."""

from django.urls import register_converter
from django.urls.converters import StringConverter

from batches import tracking_ids


class TrackingIdConverter(StringConverter):
    """Nothing else reaches the database: it refuses, for one, to be asked about NUL."""

    regex = tracking_ids.IN_ADDRESSES


register_converter(TrackingIdConverter, "tracking_id")
