"""The Hyper-Skin benchmark as living software: facial skin spectra from RGB.

Read it the way the data go: `sources` bring captures in, `spectral` turns counts into cubes and cubes into pictures,
`data` keeps them in files, `models` and `training` learn, `metrics` judge, `tracking` remembers. `steps` put these
together, one file for each thing that DVC, Prefect or a person runs; `commands` hold what people ask for beside that,
and `cli` gives all of it a verb. Every module imports only from those below it.
"""

__version__ = "0.1.0"
