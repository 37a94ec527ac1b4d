"""Placeholder."""


def draw_run(workdir):
    pass
