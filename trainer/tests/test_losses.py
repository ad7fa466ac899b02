import math

import pytest
import torch

from repoforge_trainer.losses import BadLoss, LossOptions, Scored, k3, score, token_loss

ZERO = torch.zeros(2)


def scored(*logprobs: float) -> Scored:
    values = torch.tensor(logprobs, requires_grad=True)
    return Scored(values, torch.zeros_like(values), torch.zeros_like(values))


def test_scores_are_renormalised_over_what_was_allowed_and_divided_by_temperature():
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    allowed = torch.tensor([[True, False, True, False]])
    found = score(logits, torch.tensor([0]), allowed, torch.tensor([0.5]))
    a, b = math.exp(2), math.exp(6)
    assert found.logprob.item() == pytest.approx(math.log(a / (a + b)), abs=1e-5)
    everything = sum(math.exp(2 * value) for value in (1, 2, 3, 4))
    assert found.log_mass.item() == pytest.approx(math.log((a + b) / everything), abs=1e-5)
    assert found.entropy.item() == pytest.approx(-sum(p * math.log(p) for p in (a / (a + b), b / (a + b))), abs=1e-5)


def test_a_ratio_outside_its_bounds_has_no_gradient_where_it_would_go_further():
    options = LossOptions(clip_low=0.2, clip_high=0.28)
    policy = scored(math.log(1.5), math.log(0.5))
    result = token_loss(policy, ZERO, torch.tensor([1.0, 1.0]), options)
    result.loss.sum().backward()
    assert result.loss.tolist() == pytest.approx([-1.28, -0.5])
    assert policy.logprob.grad.tolist() == pytest.approx([0.0, -0.5])  # upwards is bounded, the way back is not
    assert result.clipped.tolist() == [1, 0]
    worse = scored(math.log(1.5), math.log(0.5))
    token_loss(worse, ZERO, torch.tensor([-1.0, -1.0]), options).loss.sum().backward()
    assert worse.logprob.grad.tolist() == pytest.approx([1.5, 0.0])


def test_truncated_importance_sampling_anchors_at_the_start_and_weighs_by_the_bounded_ratio():
    start, recorded = torch.tensor([-1.0, -1.0]), torch.tensor([-4.0, -0.5])
    result = token_loss(scored(-1.0, -1.0), recorded, torch.ones(2), LossOptions(tis_cap=2.0), start)
    assert result.loss.tolist() == pytest.approx([-2.0, -math.exp(-0.5)])


def test_kl_and_entropy_are_added():
    policy = Scored(torch.tensor([-1.0]), torch.tensor([0.7]), torch.zeros(1))
    options = LossOptions(kl_coefficient=0.1, entropy_coefficient=0.05)
    result = token_loss(policy, torch.tensor([-1.0]), torch.ones(1), options, None, torch.tensor([-1.5]))
    assert result.loss.item() == pytest.approx(-1 + 0.1 * (math.exp(-0.5) + 0.5 - 1) - 0.05 * 0.7)
    with pytest.raises(BadLoss):
        token_loss(policy, torch.tensor([-1.0]), torch.ones(1), options)


def test_k3_is_never_below_zero_nor_infinite():
    values = k3(torch.tensor([-1e4, -1.0, 0.0, 1.0, 1e4]))
    assert bool((values >= 0).all()) and bool(values.isfinite().all())


@pytest.mark.parametrize("options", [LossOptions(name="x"), LossOptions(clip_low=1.0), LossOptions(tis_cap=0.5), LossOptions(kl_coefficient=-1)])
def test_options_without_a_meaning_are_refused(options: LossOptions):
    with pytest.raises(BadLoss):
        options.check()
