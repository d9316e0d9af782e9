"""A process's settings, and the values that it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsError

from chassis.errors import wrong_setting
from chassis.settings import ProcessSettings
from console.bootstrap import Settings as ConsoleSettings
from gateway.bootstrap import Settings as GatewaySettings
from graphql_server.bootstrap import Settings as GraphqlSettings
from mcp_server.bootstrap import Settings as McpSettings
from partners.payment_provider.bootstrap import Settings as PaymentSettings
from partners.smtp_sink.bootstrap import Settings as SmtpSinkSettings
from services.catalog.bootstrap import Settings as CatalogSettings
from services.erp_adapter.bootstrap import Settings as ErpAdapterSettings
from services.inventory.bootstrap import Settings as InventorySettings
from services.mailer.bootstrap import Settings as MailerSettings
from services.notifier.bootstrap import Settings as NotifierSettings
from services.orders.bootstrap import Settings
from services.orders.bootstrap import WorkerSettings as OrderWorkerSettings
from services.reports.bootstrap import Settings as ReportsSettings
from services.storage.bootstrap import Settings as StorageSettings
from services.users.bootstrap import Settings as UsersSettings
from webhooks.bootstrap import Settings as WebhooksSettings
from webhooks.worker import WorkerSettings


@pytest.fixture(autouse=True)
def nothing_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ProcessSettings.model_fields:
        monkeypatch.delenv(f"SHOP_{name.upper()}", raising=False)
        monkeypatch.delenv(f"SHOP_{name.upper()}_FILE", raising=False)


def test_environment_is_read_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting is read from the variable of its name, in upper case and with our prefix."""
    monkeypatch.setenv("SHOP_ORDERS_PORT", "1234")
    monkeypatch.setenv("SHOP_RETRY_DELAYS", "[1, 2]")
    settings = Settings()
    assert (settings.orders_port, settings.retry_delays) == (1234, (1, 2))


def test_former_name_of_a_setting_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """A renamed setting is read from its former variable, too; the current one wins."""
    monkeypatch.delenv("SHOP_UPLOAD_TIMEOUT", raising=False)
    monkeypatch.delenv("SHOP_NOTIFIER_TIMEOUT", raising=False)
    monkeypatch.setenv("SHOP_UPLOAD_PATIENCE", "7")
    monkeypatch.setenv("SHOP_NOTIFIER_PATIENCE", "8")
    assert (StorageSettings().upload_timeout, GatewaySettings().upload_timeout) == (7, 7)
    assert NotifierSettings().notifier_timeout == 8
    monkeypatch.setenv("SHOP_UPLOAD_TIMEOUT", "9")
    assert StorageSettings().upload_timeout == 9


@pytest.mark.parametrize(("name", "value"), [("ENV", "staging"), ("ORDERS_PORT", "many"), ("LOG_LEVEL", "loud")])
def test_wrong_setting_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A value that cannot be meant stops the process at its start, naming the setting."""
    monkeypatch.setenv(f"SHOP_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


@pytest.mark.parametrize(
    "delays", ["[]", "[-1]", "[0]", "[1, 2, 1.5]", "[1e999]", "[NaN]", "[700000]", str([1] * 201), "5", '{"a": 1}']
)
def test_delays_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch, delays: str) -> None:
    """None, negative, endless, ever shorter or too many: refused at the start, in words that name the setting."""
    monkeypatch.setenv("SHOP_RETRY_DELAYS", delays)
    with pytest.raises((ValidationError, SettingsError)) as refused:
        MailerSettings()
    assert re.match(r"SHOP_RETRY_DELAYS (is wrong|cannot be read): \w", wrong_setting(refused.value))
    monkeypatch.delenv("SHOP_RETRY_DELAYS")
    monkeypatch.setenv("SHOP_WEBHOOKS_DELIVERY_DELAYS", delays)
    if delays == "[]":
        assert WorkerSettings().webhooks_delivery_delays == ()  # each webhook gets one attempt
        return
    with pytest.raises((ValidationError, SettingsError)):
        WorkerSettings()


@pytest.mark.parametrize("hosts", ["https://shop.example.com", "shop.example.com:80", "*.example.com", "a b", "a/b"])
def test_hosts_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch, hosts: str) -> None:
    """A name that no request could come under is a mistake, and said to be one."""
    monkeypatch.setenv("SHOP_CONSOLE_HOSTS", f"shop.test,{hosts}")
    with pytest.raises(ValidationError) as refused:
        ConsoleSettings()
    assert "write names as shop.example.com" in wrong_setting(refused.value)


@pytest.mark.parametrize("lease", ["0", "-1", "inf", "nan", "1e9"])
def test_a_lease_that_makes_no_sense_is_refused(monkeypatch: pytest.MonkeyPatch, lease: str) -> None:
    """One of no time would be renewed without end, and one of years would keep a dead copy's partitions."""
    monkeypatch.setenv("SHOP_REPORTS_LEASE", lease)
    with pytest.raises(ValidationError, match="reports_lease"):
        ReportsSettings()


SETTINGS = (
    CatalogSettings,
    ConsoleSettings,
    ErpAdapterSettings,
    GatewaySettings,
    GraphqlSettings,
    InventorySettings,
    MailerSettings,
    McpSettings,
    NotifierSettings,
    OrderWorkerSettings,
    PaymentSettings,
    ReportsSettings,
    Settings,
    SmtpSinkSettings,
    StorageSettings,
    UsersSettings,
    WebhooksSettings,
    WorkerSettings,
)
NUMBERS = [
    (settings, name)
    for settings in SETTINGS
    for name, field in settings.model_fields.items()
    if field.annotation in (int, float) and not name.endswith("_port")
]


@pytest.mark.parametrize(("settings", "name"), NUMBERS, ids=[f"{each.__module__}-{name}" for each, name in NUMBERS])
def test_a_number_below_zero_or_without_end_is_refused(settings: type[ProcessSettings], name: str) -> None:
    """A time, a rate or a number of things is positive and finite, whatever else it may be."""
    for wrong in ("-1", "inf", "nan"):
        with pytest.raises(ValidationError, match=name):
            settings.model_validate({name: wrong})


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (ErpAdapterSettings, "legacy_soap_contract_check"),
        (ErpAdapterSettings, "legacy_soap_timeout"),
        (StorageSettings, "max_file_bytes"),
        (StorageSettings, "upload_timeout"),
        (SmtpSinkSettings, "mail_keep"),
        (ConsoleSettings, "console_max_traces"),
        (WorkerSettings, "webhooks_forget_every"),
        (GatewaySettings, "request_budget"),
    ],
)
def test_a_number_of_which_none_makes_no_sense_is_not_zero(settings: type[ProcessSettings], name: str) -> None:
    """A look every 0 seconds would be a loop without a pause, and a limit of 0 would let nothing through."""
    with pytest.raises(ValidationError, match=name):
        settings.model_validate({name: "0"})


def test_a_burst_of_less_than_a_frame_is_refused() -> None:
    """No client could ever send one."""
    with pytest.raises(ValidationError, match="notifier_burst"):
        NotifierSettings.model_validate({"notifier_burst": "0.5"})


@pytest.mark.parametrize(
    ("env", "demo_data", "wanted"),
    [
        ("development", None, True),
        ("development", False, False),
        ("production", None, False),
        ("production", False, False),
    ],
)
def test_demo_data_by_environment(env: str, demo_data: bool | None, wanted: bool) -> None:
    """Demo data is loaded in development by default, and not in production."""
    assert ProcessSettings.model_validate({"env": env, "demo_data": demo_data}).demo() is wanted


def test_demo_data_in_production_is_refused() -> None:
    """Demo accounts have public passwords: asking for them in production is an error, not a preference."""
    with pytest.raises(ValueError, match="SHOP_DEMO_DATA and SHOP_ENV=production"):
        ProcessSettings(env="production", demo_data=True).demo()


def test_where_state_lives() -> None:
    """Without URLs state lives in files of the data directory; a URL has the service's name put in its place."""
    settings = ProcessSettings(data_dir=Path("/x"))
    assert settings.broker() == "embedded:/x/broker.sqlite"
    assert settings.database("orders") == "sqlite:////x/orders.sqlite"
    elsewhere = ProcessSettings(broker_url="amqp://b/", database_url="postgresql://db/shop_{service}")
    assert (elsewhere.broker(), elsewhere.database("orders")) == ("amqp://b/", "postgresql://db/shop_orders")


def test_secret_is_read_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SHOP_X_FILE names a file that holds SHOP_X: all of it but one newline at its end."""
    (tmp_path / "secret").write_text("  two \n\n")
    monkeypatch.setenv("SHOP_SERVICE_SECRET_FILE", str(tmp_path / "secret"))
    assert ProcessSettings().service_secret == "  two \n"


def test_structured_setting_is_read_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is JSON in a variable is JSON in a file."""
    (tmp_path / "secrets.json").write_text('{"mailer": "x"}\n')
    monkeypatch.setenv("SHOP_SERVICE_SECRETS_FILE", str(tmp_path / "secrets.json"))
    assert UsersSettings().service_secrets == {"mailer": "x"}


def test_setting_and_its_file_exclude_each_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set both ways is an error that names both; an empty variable counts as not set."""
    (tmp_path / "url").write_text("amqp://b/")
    monkeypatch.setenv("SHOP_BROKER_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("SHOP_BROKER_URL", "")
    assert ProcessSettings().broker_url == "amqp://b/"
    monkeypatch.setenv("SHOP_BROKER_URL", "amqp://other/")
    with pytest.raises(ValueError, match="SHOP_BROKER_URL and SHOP_BROKER_URL_FILE are both set"):
        ProcessSettings()


@pytest.mark.parametrize(("content", "reason"), [(None, "cannot be read: No such file"), (b"\xff", "is not UTF-8")])
def test_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    """A file that is missing or no text stops the process at its start, naming the variable and the file."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("SHOP_SERVICE_SECRET_FILE", str(path))
    with pytest.raises(ValueError, match=f"SHOP_SERVICE_SECRET_FILE={path} {reason}"):
        ProcessSettings()
