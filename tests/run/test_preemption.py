import os
import signal

from nmn_jax.run import preemption


def test_a_signal_becomes_a_flag_and_the_old_handler_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with preemption.Preemption() as taken:
        assert not taken.requested(1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert taken.requested(2)
        assert taken.requested(3)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_exit_code_tells_a_preempted_run_from_a_failed_one():
    assert preemption.EXIT_CODE not in (0, 1, 128 + signal.SIGTERM)
    assert preemption.EXIT_CODE < 128
