"""Of many fits of a network that begin at once one trains."""

import threading

from work import SIZES, problem

import fastmlp

X, y = problem()
for _ in range(50):
    net, ends, together = fastmlp.MLP(SIZES, seed=0), [], threading.Barrier(8)

    def one():
        trainer = fastmlp.Trainer(net, batch_size=None, seed=0)
        together.wait(30)
        try:
            ends.append(trainer.fit(X, y, 3).stop_reason)
        except RuntimeError as error:
            ends.append(str(error)[:7])

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 8 and set(ends) <= {"epochs", "network"} and "epochs" in ends, ends
    assert fastmlp.Trainer(net).fit(X, y, 1).stop_reason == "epochs"
