"""The command line, killed after so many checkpoints."""

import os
import signal
import sys

from fastmlp import Trainer, cli

save, left = Trainer.save_checkpoint, int(sys.argv[1])


def save_and_die(*arguments):
    global left
    save(*arguments)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)


Trainer.save_checkpoint = save_and_die
cli.main(sys.argv[2:])
