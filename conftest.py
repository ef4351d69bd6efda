"""Nearly nothing: the fixtures come from the plugin, registered by the package's entry point."""

import signal

# A job that a shell started in the background ignores Ctrl-C, and so would every process of the tests.
# What is handled here is at its default in whatever the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
