"""What keeps a training run company: each file wraps the loop's iterator in one thing more.

    rounds = training.train(...)         what is computed
    timed      each round with what is due after it: a checkpoint, a picture, the end
    logged     its losses, as means, in metrics.jsonl and wherever else lines go
    watched    a GAN that collapses is noticed, before anything of it is saved if it is to stop or go back
    saved      checkpoints; from here on, nothing is lost
    pictured   samples as they improve
    scored     held-out likelihood, and the best checkpoint
    described  the log's line, and the model card
    persevering    builds all this again where a run goes back to its last checkpoint

What looks at the model comes after `saved` and is left when a signal comes (see `Stop.spare`).
"""
