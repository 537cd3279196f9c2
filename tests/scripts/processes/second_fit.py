"""A second fit of a network is refused; the first goes on as if nothing had been."""

import threading

from work import SIZES, problem

import fastmlp

X, y = problem()
alone = fastmlp.MLP(SIZES, seed=0)
fastmlp.Trainer(alone, seed=0).fit(X, y, 60)
net = fastmlp.MLP(SIZES, seed=0)
first, second = fastmlp.Trainer(net, seed=0), fastmlp.Trainer(net, seed=0)
inside, go_on, said = threading.Event(), threading.Event(), []


def wait(epoch, history):
    inside.set()
    go_on.wait(30)


fitting = threading.Thread(target=first.fit, args=(X, y, 60), kwargs=dict(callback=wait))
fitting.start()
inside.wait(30)
history = first.history
for trainer in (first, second):
    for _ in range(3):
        try:
            trainer.fit(X, y, 1)
        except RuntimeError as error:
            said.append(str(error))
assert len(said) == 6 and all("already being fitted" in each for each in said), said
assert first.history is history and second.history is None
other = fastmlp.MLP(SIZES, seed=0)
assert fastmlp.Trainer(other, seed=0).fit(X, y, 1).stop_reason == "epochs"  # of another network
go_on.set()
fitting.join()
assert history.stop_reason == "epochs" and len(history.loss) == 60
assert (net.parameters == alone.parameters).all()
assert second.fit(X, y, 1).stop_reason == "epochs"
