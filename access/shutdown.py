"""Whether this worker is going down: set in its main process, seen in every pool child.

Celery's soft shutdown tells only the main process, while the engine's loop runs in a child.
"""

import multiprocessing

# Made at import, before the pool forks, so that all its children share it.
stopping = multiprocessing.Event()
