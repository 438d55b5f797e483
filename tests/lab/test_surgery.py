"""Operations do what they say, to a copy; what is harmless by algebra does no harm."""

import pytest
import torch
import torch.nn.functional as F

import derainlib
from derainlib.errors import DerainError
from derainlib.lab import anatomy, miniature, surgery
from derainlib.models import weights

PAIR = miniature.shower("chelsea", "heavy", 5, (24, 32))


def small(name: str, **options):
    sizes = {"srn": {"stages": 2, "width": 4}, "brn": {"stages": 2, "width": 4}, "dcdnet": {"stages": 3, "width": 4}}
    return miniature.untrained(name, 1, **sizes.get(name.partition("-")[0], {}) | options).eval()


def result(network) -> torch.Tensor:
    with torch.inference_mode():
        return network(PAIR.rainy).background


class TestChannels:
    def test_silenced_ones_give_zero(self):
        network = small("srn")
        before = result(network)
        patient = surgery.silenced(network, "network.blocks.0.first", [1, 3])
        maps = anatomy.maps(patient, PAIR.rainy, "network.blocks.0.first")[0][-1]
        assert [bool(channel.any()) for channel in maps[0]] == [True, False, True, False]
        assert torch.equal(result(network), before)

    def test_whole_layer(self):
        patient = surgery.silenced(small("srn"), "network.output")
        assert torch.equal(result(patient), PAIR.rainy)  # Eq. 4: x = y + F

    def test_permuted_channels_keep_their_values(self):
        network = small("srn")
        one, other = (
            anatomy.maps(n, PAIR.rainy, "network.input")[0][0][0]
            for n in (network, surgery.permuted(network, "network.input", 2))
        )
        assert not torch.equal(one, other)
        assert sorted(one.sum((1, 2)).tolist()) == pytest.approx(sorted(other.sum((1, 2)).tolist()), abs=1e-3)

    def test_next_layer_can_undo_a_permutation(self):
        network = small("srn")
        patient = surgery.permuted(network, "network.blocks.0.first", 3)
        order = torch.randperm(4, generator=torch.Generator().manual_seed(3))
        assert not torch.allclose(result(patient), result(network), atol=1e-5)
        following = patient.network.blocks[0].second
        with torch.no_grad():
            following.weight.copy_(following.weight[:, order])
        assert torch.allclose(result(patient), result(network), atol=1e-5)

    def test_groups_keep_their_channels(self):
        network = derainlib.create("qsnet", units=1).requires_grad_(False)
        before, after = (
            network.encoder[0].reduce.weight,
            surgery.permuted(network, "encoder.0.reduce").encoder[0].reduce,
        )
        groups = [sorted(map(float, part.flatten())) for part in before.chunk(4)]
        assert groups == [sorted(map(float, part.flatten())) for part in after.weight.chunk(4)]
        assert not torch.equal(before, after.weight)

    @pytest.mark.parametrize(
        ("operate", "said"),
        [
            (lambda: surgery.silenced(small("srn"), "network.last"), "no layer with weights is called 'network.last'"),
            (lambda: surgery.silenced(small("srn"), "network.input", [4]), "has the channels 0 to 3; there is no 4"),
            (lambda: surgery.permuted(small("menet"), "ascend.norm"), "permute that one"),
            (
                lambda: surgery.cut(small("srn"), "h → heaven"),
                "no connection is called 'h → heaven'; there are O → input",
            ),
            (lambda: surgery.disturbed(small("srn"), "melt"), "no change of state is called 'melt'; there are forget"),
            (lambda: surgery.disturbed(small("qsnet"), "forget"), "a QSNet has no recurrent state"),
        ],
    )
    def test_what_cannot_be_done_is_said(self, operate, said):
        with pytest.raises(DerainError) as error:
            operate()
        assert said in str(error.value)


NETWORKS = (
    "srn",
    "srn-x",
    "srn-gru",
    "brn",
    "brn-gru",
    "brn-x2r",
    "crn",
    "dcdnet",
    "qsnet",
    "phpnet",
    "phpnet-standard",
    "menet",
)


class TestWires:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_each_operation_changes_the_picture_and_only_the_copy(self, name):
        network = small(name)
        before = result(network)
        for title, operate in surgery.operations(network).items():
            with torch.inference_mode():  # as in a demonstration
                patient = operate(network)
            assert not torch.equal(result(patient), before), title
        assert torch.equal(result(network), before)

    def test_brn_without_messages_is_crn(self):
        network, without = small("brn"), small("crn", width=4, stages=2)
        for wire in ("h_x → rain cell", "h_r → background cell"):
            network = surgery.cut(network, wire)
        state = {
            key: value[:, : without.state_dict()[key].shape[1]] if value.ndim == 4 else value
            for key, value in network.state_dict().items()
        }
        without.load_state_dict(state)
        assert torch.allclose(result(network), result(without), atol=1e-6)
        assert not any("→ rain cell" in wire and "h_x" in wire for wire in surgery.wires(without))

    def test_state_that_is_forgotten_leaves_one_stage_after_another(self):
        network = small("srn", cell="gru")
        once = small("srn", cell="gru", stages=1)
        once.load_state_dict(network.state_dict())
        forgetful = surgery.disturbed(network, "forget")
        first = once(PAIR.rainy).background
        share = once.network.rainy_share(PAIR.rainy)
        z = (F.conv2d(first, once.network.input.weight[:, 3:], padding=1) + share).relu()
        h = once.network.cell(z, None)[0]
        second = PAIR.rainy + once.network.output(once.network.blocks(h))
        assert torch.allclose(forgetful(PAIR.rainy).background, second, atol=1e-5)

    @pytest.mark.parametrize("change", surgery.CHANGES)
    def test_changes_of_state(self, change):
        state = torch.rand(1, 5, 6, 16)
        changed = surgery.CHANGES[change](state)
        assert changed.shape == state.shape
        assert not torch.equal(changed, state)
        if change != "forget":
            assert torch.equal(changed.flatten().sort().values, state.flatten().sort().values)
        if change == "shuffle channels":
            assert sorted(changed.sum((0, 2, 3)).tolist()) == pytest.approx(sorted(state.sum((0, 2, 3)).tolist()))

    def test_other_networks_have_none(self):
        assert surgery.operations(torch.nn.Conv2d(3, 3, 1)) == {}


class TestHarm:
    def test_is_lost_psnr(self):
        network = weights.load("menet")
        patient = surgery.silenced(network, "output")
        rainy = derainlib.psnr(PAIR.rainy, PAIR.clean).item()
        assert surgery.score(patient, PAIR) == pytest.approx(rainy, abs=1e-4)
        assert surgery.harm(network, patient, PAIR) == pytest.approx(surgery.score(network, PAIR) - rainy, abs=1e-4)

    def test_each_channel_alone(self):
        network = small("srn")
        found = surgery.harms(network, "network.input", PAIR)
        third = surgery.harm(network, surgery.silenced(network, "network.input", [2]), PAIR)
        assert len(found) == 4
        assert found[2] == pytest.approx(third, abs=1e-6)

    def test_ranks_and_pictures(self):
        line = surgery.ranked({"a": [0.1, 2.0, -0.3]}).axes[0].lines[0]
        assert line.get_ydata().tolist() == [2.0, 0.1, -0.3]
        network = small("srn")
        titles = [ax.get_title() for ax in surgery.beside(network, network, PAIR, "nothing").axes[:3]]
        score = f"{surgery.score(network, PAIR):.1f} dB"
        assert titles == [f"whole: {score}", f"nothing: {score}", "after − before"]

    def test_beyond_the_last_stage(self):
        network = small("srn")
        found = surgery.beyond(network, PAIR, 4)
        assert len(found) == 4
        assert found[1] == pytest.approx(surgery.score(network, PAIR), abs=1e-4)
