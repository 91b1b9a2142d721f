"""Run the notebooks as tests: nbdev_test, in the ways of tests/conftest.py. Arguments are those of nbdev_test.

Python's collector looks rarely, since tracing makes millions of objects that live on; and Ctrl-C interrupts, also where
a shell has started this in the background and so had it ignored."""

import gc
import signal

from nbdev.test import nbdev_test

gc.set_threshold(100_000, 50, 100)
signal.signal(signal.SIGINT, signal.default_int_handler)

if __name__ == "__main__":
    nbdev_test()
