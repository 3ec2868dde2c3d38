from __future__ import annotations

import numpy as np

from thinkvla.diagnose.pictures import Column, colours, heat, shades, sheet

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)


def test_heat_leaves_the_rest_grey_and_glows_where_it_should() -> None:
    strength = np.zeros((4, 4))
    strength[0, 3] = 1.0
    drawn = heat(PICTURE, strength).astype(int)
    assert drawn.shape == PICTURE.shape
    cold = drawn[24:, :24]
    assert (cold == cold[..., :1]).all()
    np.testing.assert_allclose(cold[..., 0], 0.6 * PICTURE[24:, :24].mean(axis=-1), atol=1)
    red, _, blue = drawn[2, 45]
    assert red > 150
    assert blue < red
    assert (heat(PICTURE, strength - 5) == heat(PICTURE, 0 * strength)).all(), "below an even share nothing glows"


def test_colours_are_squares() -> None:
    values = np.zeros((2, 2, 3))
    values[0, 1] = (1.0, 0.5, 7.0)
    drawn = colours(values, (8, 8))
    assert (drawn[:4, 4:] == (255, 127, 255)).all()
    assert drawn.sum() == 16 * (255 + 127 + 255)
    ramp = shades(np.array([[0.0, 1.0, 2.0]]), 0.0, 2.0, (1, 3)).astype(int).sum(axis=-1)[0]
    assert ramp[0] < ramp[1] < ramp[2]


def test_sheet_holds_every_picture_unchanged() -> None:
    other = 255 - PICTURE
    page = sheet(["front", "wrist"], [Column("a very long heading indeed", [PICTURE, other], ["", "2.0 × even"])] * 2)
    places = [
        (top, left)
        for top in range(page.shape[0] - 47)
        for left in range(page.shape[1] - 47)
        if (page[top, left] == PICTURE[0, 0]).all() and (page[top : top + 48, left : left + 48] == PICTURE).all()
    ]
    assert len(places) == 2
    (top, left), (other_top, other_left) = places
    assert top == other_top
    assert left + 48 < other_left
