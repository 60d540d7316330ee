"""The moving average of weights, against its closed form."""

import pytest
import torch
from torch import nn

from triptych.nn.ema import EMA


def network():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def set_weights(module, value):
    with torch.no_grad():
        for w in module.parameters():
            w.fill_(value)


def test_the_average_of_constant_weights_has_a_closed_form():
    net = network()
    set_weights(net, 0.0)
    ema = EMA(net, decay=0.5)
    set_weights(net, 1.0)
    remains = 1.0  # of the start: the product of the decays min(.5, (1 + t) / (10 + t))
    for t in range(20):
        ema.update(net)
        remains *= min(0.5, (1 + t) / (10 + t))
        assert ema.module[0].weight.flatten()[0].item() == pytest.approx(1 - remains, rel=1e-6)
    assert ema.updates == 20


def test_after_its_warm_up_the_average_weighs_the_past_geometrically():
    net = network()
    ema = EMA(net, decay=0.9)
    set_weights(net, 0.0)
    for _ in range(300):
        ema.update(net)
    for value in (1.0, 2.0, 3.0):
        set_weights(net, value)
        ema.update(net)
    assert ema.module[0].weight[0, 0].item() == pytest.approx(0.1 * (3 + 2 * 0.9 + 1 * 0.81), rel=1e-5)


def test_no_decay_is_a_copy():
    net = network()
    ema = EMA(net, decay=0)
    set_weights(net, 3.0)
    ema.update(net)
    assert all(torch.equal(a, b) for a, b in zip(ema.module.parameters(), net.parameters(), strict=True))


def test_batch_statistics_are_copied():
    net = network()
    ema = EMA(net, decay=0.999)
    net(torch.randn(16, 2))
    ema.update(net)
    assert ema.module[1].num_batches_tracked == 1
    assert torch.equal(ema.module[1].running_mean, net[1].running_mean)


def test_the_average_starts_at_the_weights_and_has_no_gradients():
    net = network()
    ema = EMA(net, decay=0.999)
    assert torch.equal(ema.module[0].weight, net[0].weight)
    assert not any(w.requires_grad for w in ema.parameters()) and all(w.requires_grad for w in net.parameters())


def test_the_average_goes_on_where_a_saved_one_stopped():
    net = network()
    straight = EMA(net, decay=0.99)
    for value in (1.0, 2.0):
        set_weights(net, value)
        straight.update(net)
    resumed = EMA(network(), decay=0.99)
    resumed.load_state_dict(straight.state_dict())
    set_weights(net, 5.0)
    for ema in (straight, resumed):
        ema.update(net)
    assert all(torch.equal(v, resumed.state_dict()[k]) for k, v in straight.state_dict().items())


def test_a_network_is_used_by_its_average_unless_it_is_training():
    net = network()
    ema = EMA(net, decay=0.5)
    assert ema.train().unless_training(net) is net
    assert ema.eval().unless_training(net) is ema.module
