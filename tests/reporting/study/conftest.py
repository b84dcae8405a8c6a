"""Trainings with several seeds, made by hand."""

import pytest

from hyperskin.reporting.study.seeds import Pool


@pytest.fixture
def pool(make_result, examine):
    """Return a function that pools runs: a model's angles by subject, one table of them for every seed."""

    def put(models, **fields):
        results = []
        for model, seeds in models.items():
            for number, angles in enumerate(seeds, 1):
                params = {} if model.startswith("regression_") else {"seed": str(number)}
                results.append(make_result(model, angles, params=params, **fields.get(model, {})))
        return Pool.of(examine(*results))

    return put
