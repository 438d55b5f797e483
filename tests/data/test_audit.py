"""The audit finds what is wrong on small sets where we put it, and the known facts of the public sets."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from derainlib import rain
from derainlib.data import audit, pairs, samples
from derainlib.data.audit import Match, Report
from derainlib.errors import DataError


def photograph(seed: int) -> np.ndarray:
    """A drawn street, (120, 160, 3) uint8: unlike flat noise it has the light and dark of photographs."""
    image, _ = samples.street((120, 160), seed)
    return (image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def put(pixels: np.ndarray, path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)


@pytest.fixture(scope="module")
def scenes() -> list[np.ndarray]:
    """Twelve distinct photographs of 120 x 160: three corners of each of scikit-image's four."""
    whole = [samples.photograph(name)[0].permute(1, 2, 0).numpy() for name in samples.PHOTOGRAPHS]
    corners = [cut for x in whole for cut in (x[:120, :160], x[:120, -160:], x[-120:, :160])]
    return [(picture * 255).round().astype(np.uint8) for picture in corners]


def rained(clean: np.ndarray, seed: int, style: str = "heavy") -> np.ndarray:
    image = torch.from_numpy(clean.copy()).permute(2, 0, 1)[None].float() / 255
    rainy = rain.add_rain(image, style, [rain.generator(seed)]).rainy[0]
    return (rainy.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


@pytest.fixture
def paired(tmp_path, scenes):
    """Twelve good pairs in heavy rain."""
    for number, clean in enumerate(scenes):
        put(clean, tmp_path / "clean" / f"{number:02d}.png")
        put(rained(clean, number), tmp_path / "rain" / f"{number:02d}.png")
    return tmp_path


def test_good_pairs_pass(paired):
    report = audit.examine(pairs.read(paired))
    assert report == Report(count=12, distinct=12)
    assert report.ok
    assert str(report).startswith("12 pairs, 12 different clean photographs\n     0 pairs that cannot be used")


@pytest.mark.parametrize("style", sorted(rain.PRESETS))
def test_no_rain_is_taken_for_a_mismatch(tmp_path, scenes, style):
    for number, clean in enumerate(scenes):
        put(np.concatenate([clean, rained(clean, number, style)], 1), tmp_path / f"{number}.png")
    assert audit.examine(pairs.read(tmp_path, layout="rain800")).mismatched == ()


def test_swapped_pairs_are_found_and_named(paired, scenes):
    put(rained(scenes[0], 50), paired / "rain" / "04.png")
    put(scenes[0], paired / "clean" / "04.png")  # 00 and 04 show one photograph now …
    put(rained(scenes[9], 51), paired / "rain" / "06.png")  # … and the rainy image of 06 shows 09
    report = audit.examine(pairs.read(paired, check=False))
    assert [(fault.name, fault.better) for fault in report.mismatched] == [("06", "09")]
    assert "06 (correlation" in str(report.mismatched[0])
    assert str(report.mismatched[0]).endswith("; its rainy image shows 09)")
    assert report.duplicates == (("00", "04"),)
    assert report.distinct == 11
    assert not report.ok


def test_foreign_and_inverted_halves_are_mismatched(paired, scenes):
    put(photograph(0), paired / "rain" / "02.png")
    put(255 - scenes[5], paired / "rain" / "05.png")
    report = audit.examine(pairs.read(paired))
    assert [fault.name for fault in report.mismatched] == ["02", "05"]
    assert report.mismatched[0].better is None
    assert report.mismatched[1].correlation < 0


def test_pairs_of_unequal_size_are_reported_not_refused(paired, scenes):
    put(scenes[1][:, :-2], paired / "rain" / "01.png")
    whole = (paired / "rain" / "03.png").read_bytes()
    (paired / "rain" / "03.png").write_bytes(whole[: len(whole) // 2])  # the header is fine, the pixels are not
    report = audit.examine(pairs.read(paired, check=False))
    assert len(report.unusable) == 2
    assert "01 is 158x120 rainy and 160x120 clean" in report.unusable[0]
    assert str(paired / "rain" / "03.png") in report.unusable[1]
    assert (report.count, report.distinct, report.ok) == (12, 10, False)


def test_nothing_usable_is_a_report_too(tmp_path, scenes):
    put(scenes[0][:101, :101], tmp_path / "1.png")
    report = audit.examine(pairs.read(tmp_path, layout="rain800", check=False))
    assert (report.count, report.distinct, len(report.unusable)) == (1, 0, 1)


def test_one_clean_to_many_is_no_duplicate(tmp_path, scenes):
    for number in (0, 1):
        put(scenes[number], tmp_path / f"{number}.png")
        for kind in range(3):
            put(rained(scenes[number], kind, "light"), tmp_path / f"{number}_{kind}.png")
    report = audit.examine(pairs.read(tmp_path, layout="rain1400"))
    assert (report.count, report.distinct, report.duplicates) == (6, 2, ())


def test_darker_pairs_are_counted(tmp_path, scenes):
    for number, clean in enumerate(scenes[:4]):
        put(clean, tmp_path / "gt" / f"{number}.png")
        put(clean // 2 if number == 2 else clean, tmp_path / "input" / f"{number}.png")
    report = audit.examine(pairs.read(tmp_path))
    assert report.darker == ("2",)
    assert report.ok


TURNED = {
    "as it is": lambda x: x,
    "mirrored": lambda x: x[:, ::-1],
    "mirrored and turned by 180 degrees": lambda x: x[::-1],
    "turned by 180 degrees": lambda x: x[::-1, ::-1],
    "mirrored and turned by 90 degrees": lambda x: x.transpose(1, 0, 2),
}


@pytest.mark.parametrize("turn", TURNED)
def test_copies_are_found_turned_resized_and_compressed(tmp_path, scenes, turn):
    for number, clean in enumerate(scenes[:8]):
        put(clean, tmp_path / "a" / f"{number}.png")
    copy = Image.fromarray(np.ascontiguousarray(TURNED[turn](scenes[3])))
    (tmp_path / "b").mkdir()
    copy.resize((copy.width * 2 // 3, copy.height // 2), Image.BICUBIC).save(tmp_path / "b" / "copy.jpg", quality=30)
    put(photograph(1), tmp_path / "b" / "new.png")
    (match,) = audit.shared(tmp_path / "a", tmp_path / "b")
    assert (match.first, match.second, match.turn) == (
        str(tmp_path / "a" / "3.png"),
        str(tmp_path / "b" / "copy.jpg"),
        turn,
    )
    assert match.correlation > 0.99
    assert str(match) == f"{match.first} = {match.second} ({turn}, correlation {match.correlation:.4f})"


def test_photographs_that_the_other_set_has_too_spoil_a_test(paired, scenes, tmp_path_factory):
    train = tmp_path_factory.mktemp("train")
    put(scenes[4][:, ::-1], train / "seen.png")
    put(photograph(1), train / "new.png")
    report = audit.examine(pairs.read(paired), against=train)
    assert [(match.first, match.second, match.turn) for match in report.shared] == [
        ("04", str(train / "seen.png"), "mirrored")
    ]
    assert not report.ok
    assert "     1 photographs that the other set contains too\n         04 = " in str(report)
    assert audit.examine(pairs.read(paired), against=[train / "new.png"]).ok


@settings(max_examples=25, deadline=None)
@given(quarter=st.integers(0, 3), mirrored=st.booleans(), seed=st.integers(0, 10**6))
def test_the_named_turn_of_the_second_gives_the_first(quarter, mirrored, seed):
    second = torch.rand(1, audit.SIDE, audit.SIDE, generator=torch.Generator().manual_seed(seed))
    pixels = second[0].numpy()
    first = np.rot90(pixels[:, ::-1] if mirrored else pixels, quarter).copy()
    (match,) = audit.matches(torch.from_numpy(first)[None], ["a"], second, ["b"])
    expected = {
        (False, 0): "as it is",
        (True, 0): "mirrored",
        **{(False, q): f"turned by {90 * q} degrees" for q in (1, 2, 3)},
        **{(True, q): f"mirrored and turned by {90 * q} degrees" for q in (1, 2, 3)},
    }
    assert match.turn == expected[mirrored, quarter]


def test_fingerprints_are_correlations_and_ignore_brightness_and_contrast():
    small = torch.rand(2, audit.SIDE, audit.SIDE, generator=torch.Generator().manual_seed(1))
    dot = (audit._fingerprints(small)[0] @ audit._fingerprints(small * 0.3 + 0.2)[1]).item()
    assert dot == pytest.approx(np.corrcoef(small[0].flatten(), small[1].flatten())[0, 1], abs=1e-5)
    assert audit._fingerprints(torch.full((1, audit.SIDE, audit.SIDE), 0.5)).abs().max() < 1e-3


def test_different_streets_and_flat_images_are_not_duplicates(tmp_path):
    for seed in range(4):
        put(photograph(seed)[:60], tmp_path / f"{seed}.png")
    put(np.full((50, 60, 3), 80, np.uint8), tmp_path / "grey.png")
    put(np.full((50, 60, 3), 160, np.uint8), tmp_path / "lighter.png")
    assert audit.duplicates(tmp_path) == []


def test_groups_join_across_matches():
    matches = [Match("a", "c", 1.0, ""), Match("d", "e", 1.0, ""), Match("c", "b", 1.0, "")]
    assert audit._groups(matches, list("abcdef")) == [("a", "b", "c"), ("d", "e")]


def test_large_sets_are_compared_in_pieces(monkeypatch):
    small = torch.rand(9, audit.SIDE, audit.SIDE, generator=torch.Generator().manual_seed(2))
    small[7] = small[2].flip(1)
    names = [str(number) for number in range(9)]
    (whole,) = audit.matches(small, names)
    monkeypatch.setattr(audit, "CHUNK", 2)
    (found,) = audit.matches(small, names)
    assert (whole.first, whole.second) == (found.first, found.second) == ("2", "7")
    assert whole.turn == found.turn
    assert whole.correlation == pytest.approx(found.correlation, abs=1e-5)  # products of other shapes round otherwise


def test_an_empty_list_is_refused():
    with pytest.raises(DataError, match="the list is empty"):
        audit.duplicates([])


# --- what is known of the public sets --------------------------------------------------------------------------


def test_rain100l_has_nine_duplicates_and_lies_in_bsds500(derain_data):
    start = time.process_time()
    report = audit.examine(pairs.read(derain_data / "rain100l"), against=derain_data / "bsds500")
    assert time.process_time() - start < 30  # seconds of all cores together, so that a busy machine does not matter
    assert [len(group) for group in report.duplicates] == [2] * 9
    assert report.distinct == 91
    assert len(report.shared) == 100
    assert min(match.correlation for match in report.shared) > 0.999
    assert report.mismatched == report.darker == report.unusable == ()


def test_bsds500_has_no_duplicates(derain_data):
    assert audit.duplicates(derain_data / "bsds500") == []


@pytest.mark.slow
def test_rain800_shares_528_photographs_and_darkens_135(derain_data):
    report = audit.examine(pairs.read(derain_data / "rain800" / "training"), against=derain_data / "bsds500")
    assert sum(len(group) for group in report.duplicates) == 528
    assert report.distinct == 368
    assert len(report.darker) == 135
    assert report.mismatched == ()
    assert len(report.shared) == 232
