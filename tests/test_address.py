"""An address without its password is the same address."""

import pytest
import sqlalchemy as sa

from hyperskin.address import without_password

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"https://me:{SECRET}@host:5000/x", "https://me@host:5000/x"),
        (f"postgresql+psycopg://me:{SECRET}@host/x?a=b", "postgresql+psycopg://me@host/x?a=b"),
        (f"postgresql://me:{SECRET}/{SECRET}@host/x", "postgresql://me@host/x"),
        (f"postgresql://me:{SECRET}?#@{SECRET}@host/x", "postgresql://me@host/x"),
        (f"postgresql://:{SECRET}@/x", "postgresql://@/x"),
        (f"postgresql://me:{SECRET}@[::1]:5432/x", "postgresql://me@[::1]:5432/x"),
        (f"postgresql://host/x?password={SECRET}", "postgresql://host/x"),
        (f"postgresql://host/x?user=me&password={SECRET}&a=b", "postgresql://host/x?user=me&a=b"),
        (f"postgresql://host/x?sslpassword={SECRET}&password={SECRET}&a=b", "postgresql://host/x?a=b"),
    ],
)
def test_a_password_is_left_out_and_all_else_stays(address: str, shown: str) -> None:
    assert without_password(address) == shown
    assert without_password(shown) == shown


@pytest.mark.parametrize(
    "address",
    ["postgresql+psycopg://me@host:5432/x", "http://host:5000/#/a", "sqlite:////data/me:you@here/x.db", "my database"],
)
def test_an_address_without_a_password_stays_as_it_is(address: str) -> None:
    assert without_password(address) == address


@pytest.mark.parametrize("password", ["plain", "a/b", "a:b", "a%40b", "a?b#c"])
def test_what_is_left_means_the_same_to_the_driver(password: str) -> None:
    """SQLAlchemy takes an address apart in its own way."""
    address = f"postgresql+psycopg://me:{password}@host:5432/ledger?sslmode=require"
    assert sa.make_url(address).password
    assert sa.make_url(without_password(address)) == sa.make_url(address)._replace(password=None)
