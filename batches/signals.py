"""What batches tell whoever listens above them."""

from django.dispatch import Signal

# Sent after commit with `batch_id` (UUID) when a batch has reached an end state. It may be lost
# with the process that should send it: listeners settle what was lost on a tick.
batch_finished = Signal()
