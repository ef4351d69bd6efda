"""kube-scheduler: on every master, one of them elected."""

from lab.components.control_plane import Controller


class Scheduler(Controller):
    """A controller with nothing of its own."""

    name = "kube-scheduler"
    unit = "kube-scheduler.service"
    port = 10259
