"""A gain for one person: by hand for two bands, laws, the information form, and the prior that it needs."""

import numpy as np
import pytest

from hyperskin.bands import NIR, VIS, Bands
from hyperskin.errors import DataError, ShapeError
from hyperskin.skin.subject_gain import MOST_READINGS, GainPrior, PriorSums, shrunk_covariance, subject_gain

TWO = Bands((500.0, 600.0))
BOTH = Bands((*VIS.wavelength_nm, *NIR.wavelength_nm[1:]))


def make_prior(bands, *, seed=0, spread=0.1, reading=0.2, shift=0.0):
    """Return a prior whose covariances have no zero anywhere."""
    stream, size = np.random.default_rng(seed), len(bands)
    person, noise = (stream.normal(size=(size, size)) / size**0.5 for _ in range(2))
    return GainPrior(
        bands,
        shift * stream.normal(size=size),
        spread**2 * (person @ person.T + 0.1 * np.eye(size)),
        reading**2 * (noise @ noise.T + 0.1 * np.eye(size)),
        subject_count=20,
    )


def make_skin(bands, *, seed, count=40):
    """Return spectra (P, C) that differ in brightness and a little in shape."""
    stream = np.random.default_rng(seed)
    shape = 0.3 + 0.2 * np.sin(np.linspace(0, 2, len(bands)) + stream.normal())
    return shape * stream.uniform(0.3, 1.2, (count, 1)) * stream.lognormal(0, 0.03, (count, len(bands)))


def log_shape(spectra):
    mean = spectra.mean(axis=0)
    return np.log(mean / mean.mean())


def _reference_gain(prior, readings, predicted, floor):
    """Return the gain by the information form: precisions add up, and so do means weighted by them."""
    difference = log_shape(readings) - log_shape(predicted)
    noise = prior.reading_covariance / len(readings) + floor**2 * np.eye(len(difference))
    known, told = np.linalg.inv(prior.covariance), np.linalg.inv(noise)
    return np.exp(np.linalg.inv(known + told) @ (known @ prior.mean + told @ difference))


def test_two_bands_by_hand():
    """The reading's shape is (1/2, 3/2), the prediction's flat; prior .04, noise .06 + .0001: 0.3996 of z."""
    prior = GainPrior(TWO, np.zeros(2), 0.04 * np.eye(2), 0.06 * np.eye(2), subject_count=9)
    gain = subject_gain(prior, np.array([[0.1, 0.3]]), np.array([[0.4, 0.4], [0.2, 0.2]]))
    share = 0.04 / 0.1001
    assert gain == pytest.approx([0.5**share, 1.5**share], rel=1e-12)


def test_two_bands_by_hand_with_a_mean_over_people():
    """Half way from what people need on average, (1/4, 1), to what this one's two readings say, (1/2, 3/2)."""
    prior = GainPrior(TWO, np.log([0.25, 1.0]), 0.05 * np.eye(2), 0.1 * np.eye(2), subject_count=9)
    readings = np.array([[0.1, 0.5], [0.3, 0.7]])
    gain = subject_gain(prior, readings, np.array([[0.4, 0.4]]), floor=0.0)
    assert gain == pytest.approx(np.sqrt([0.25 * 0.5, 1.0 * 1.5]), rel=1e-12)


@pytest.mark.parametrize("bands", [TWO, VIS, NIR, BOTH], ids=len)
@pytest.mark.parametrize("count", [1, 5, 25])
def test_precisions_that_add_up_say_the_same(bands, count):
    prior = make_prior(bands, shift=0.05)
    readings, predicted = make_skin(bands, seed=1, count=count), make_skin(bands, seed=2)
    expected = _reference_gain(prior, readings, predicted, 0.01)
    assert subject_gain(prior, readings, predicted) == pytest.approx(expected, rel=1e-9)


def test_the_posterior_mean_is_that_of_people_who_fit_the_readings():
    """A second way: draw a million people and a reading of each, and average those whose reading is near this one."""
    stream = np.random.default_rng(0)
    prior = GainPrior(TWO, np.array([0.02, -0.03]), np.array([[0.03, 0.01], [0.01, 0.02]]), 0.04 * np.eye(2), 9)
    readings, predicted = np.array([[0.25, 0.35]]), np.array([[0.3, 0.3]])
    person = stream.multivariate_normal(prior.mean, prior.covariance, 1_000_000)
    told = log_shape(readings) - log_shape(predicted)
    near = np.exp(-0.5 * np.square(person - told).sum(axis=1) / 0.04)
    assert np.log(subject_gain(prior, readings, predicted, floor=0.0)) == pytest.approx(
        near @ person / near.sum(), abs=1e-3
    )


def test_no_reading_changes_nothing():
    prior = make_prior(VIS, shift=0.3)
    assert np.array_equal(subject_gain(prior, np.empty((0, 31)), make_skin(VIS, seed=1)), np.ones(31))


def test_equal_spectra_need_no_gain_where_people_need_none_on_average():
    skin = make_skin(VIS, seed=1)
    assert subject_gain(make_prior(VIS), skin, skin) == pytest.approx(np.ones(31), abs=1e-12)


def test_brightness_changes_nothing():
    prior, readings, predicted = make_prior(VIS), make_skin(VIS, seed=1, count=3), make_skin(VIS, seed=2)
    plain = subject_gain(prior, readings, predicted)
    assert subject_gain(prior, 7.5 * readings, predicted) == pytest.approx(plain, rel=1e-12)
    assert subject_gain(prior, readings, 0.01 * predicted) == pytest.approx(plain, rel=1e-12)


def test_perfect_readings_are_believed_altogether():
    readings, predicted = make_skin(VIS, seed=1, count=3), make_skin(VIS, seed=2)
    prior = make_prior(VIS, reading=0.0, shift=0.1)
    gain = subject_gain(prior, readings, predicted, floor=0.0)
    assert gain == pytest.approx(np.exp(log_shape(readings) - log_shape(predicted)), rel=1e-6)


def test_more_readings_are_believed_more_but_not_beyond_what_one_capture_tells():
    prior, predicted = make_prior(VIS), make_skin(VIS, seed=2)
    one = make_skin(VIS, seed=1, count=1)
    told = np.exp(log_shape(one) - log_shape(predicted))
    away = [
        np.abs(np.log(subject_gain(prior, np.repeat(one, count, axis=0), predicted) / told)).sum()
        for count in (1, 5, MOST_READINGS, 1000)
    ]
    assert away[0] > away[1] > away[2]
    assert away[3] == pytest.approx(away[2], rel=1e-9)


def test_people_that_do_not_differ_are_left_as_they_are():
    prior = make_prior(VIS, spread=0.0)
    assert subject_gain(prior, make_skin(VIS, seed=1), make_skin(VIS, seed=2)) == pytest.approx(np.ones(31), abs=1e-12)


def test_a_band_that_noise_took_below_zero_is_dark_and_no_more():
    prior, predicted = make_prior(VIS), make_skin(VIS, seed=2)
    readings = make_skin(VIS, seed=1, count=1)
    readings[0, 0] = -0.5
    assert np.isfinite(subject_gain(prior, readings, predicted)).all()


@pytest.mark.parametrize(
    ("readings", "message"),
    [
        (np.full((2, 31), np.nan), "measured spectra of skin must be finite and reflect some light; got NaN"),
        (np.full((2, 31), np.inf), "measured spectra of skin must be finite and reflect some light; got NaN or inf"),
        (np.zeros((2, 31)), "measured spectra of skin must be finite and reflect some light; got nothing but black"),
        (np.full((2, 31), -1.0), "got nothing but black"),
    ],
    ids=["nan", "inf", "black", "negative"],
)
def test_readings_that_say_nothing_are_refused(readings, message):
    with pytest.raises(DataError, match=message):
        subject_gain(make_prior(VIS), readings, make_skin(VIS, seed=2))


def test_spectra_on_other_bands_are_refused():
    prior, skin = make_prior(VIS), make_skin(VIS, seed=2)
    with pytest.raises(ShapeError, match=r"measured spectra must be \(P, 31\) like the bands; got shape \(2, 30\)"):
        subject_gain(prior, np.ones((2, 30)), skin)
    with pytest.raises(ShapeError, match=r"predicted spectra must be \(P, 31\) like the bands; got shape \(31,\)"):
        subject_gain(prior, skin, skin[0])
    with pytest.raises(DataError, match="predicted spectra of skin must be finite and reflect some light; got none"):
        subject_gain(prior, skin, skin[:0])


def test_a_prior_knows_how_people_differ():
    """Forty people whose model is off by a gain of their own, around one that all need: mean and spread come back."""
    stream, sums = np.random.default_rng(0), PriorSums(VIS)
    tilt = np.linspace(-1, 1, 31)
    own = 0.1 * stream.normal(size=40)
    for seed, strength in enumerate(own):
        predicted = make_skin(VIS, seed=seed)
        sums.add(predicted * np.exp((0.2 + strength) * tilt), predicted)
    prior = sums.prior()
    assert prior.subject_count == 40
    slope = tilt @ (prior.mean - prior.mean.mean()) / (tilt @ tilt)
    assert slope == pytest.approx(0.2 + own.mean(), abs=0.01)
    assert tilt @ prior.covariance @ tilt / (tilt @ tilt) ** 2 == pytest.approx(own.var(ddof=1), rel=0.1)


def test_a_prior_knows_how_readings_scatter():
    """Log shapes of pixels around their mean, people counting equally however many pixels they have."""
    sums, scatters = PriorSums(VIS), []
    for seed, count in ((1, 30), (2, 300)):
        skin = make_skin(VIS, seed=seed, count=count)
        sums.add(skin, skin)
        shapes = np.log(skin / skin.mean(axis=1, keepdims=True))
        scatters.append(np.cov(shapes.T, bias=True))
    assert sums.prior().reading_covariance == pytest.approx(np.mean(scatters, axis=0), rel=1e-9)


def test_one_person_makes_no_prior():
    sums = PriorSums(VIS)
    sums.add(make_skin(VIS, seed=1), make_skin(VIS, seed=2))
    assert not sums.is_enough
    with pytest.raises(DataError, match="needs 2 people or more; got 1"):
        sums.prior()


def test_few_samples_are_drawn_towards_a_ball_and_many_are_not():
    stream = np.random.default_rng(0)
    true = np.diag([4.0, 1.0, 0.25])
    few, many = (shrunk_covariance(stream.multivariate_normal(np.ones(3), true, count)) for count in (4, 200_000))
    assert many == pytest.approx(true, abs=0.03)
    assert np.linalg.eigvalsh(few).min() > 0
    errors = []
    for seed in range(50):
        samples = np.random.default_rng(seed).multivariate_normal(np.zeros(30), np.eye(30), 8)
        errors.append(
            [np.square(found - np.eye(30)).sum() for found in (shrunk_covariance(samples), np.cov(samples.T))]
        )
    assert np.mean(errors, axis=0)[0] < 0.2 * np.mean(errors, axis=0)[1]


def test_samples_that_are_all_alike_do_not_vary():
    assert np.array_equal(shrunk_covariance(np.ones((5, 3))), np.zeros((3, 3)))
