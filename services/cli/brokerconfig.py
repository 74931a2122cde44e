"""`weir broker-config`: the keys of every service, and a broker's configuration that says what each may do."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from common import brokerconf, subjects
from common.errors import UserError
from common.keys import Keys
from common.settings import load
from services.cli.terminal import say

SERVER = "nats.conf"
KEYS = "keys"


def broker_config(
    directory: Annotated[Path, Parameter(help="Where to write; kept private, for it holds keys.")],
    *,
    region: Annotated[
        tuple[str, ...], Parameter(help="A region the broker serves; WEIR_REGION if none is named.", negative="")
    ] = (),
    name: Annotated[str, Parameter(help="Name of the server, another for each of a cluster.")] = "weir-1",
    listen: Annotated[str, Parameter(help="Address and port for clients.")] = "0.0.0.0:4222",
    store: Annotated[str, Parameter(help="Where the server keeps its data.")] = "/var/lib/nats",
    tls: Annotated[str, Parameter(help="Directory of tls.crt, tls.key and, in a cluster, ca.crt.")] = "/etc/nats/tls",
    cluster: Annotated[str | None, Parameter(help="Name of the cluster, if there is one.")] = None,
    route: Annotated[tuple[str, ...], Parameter(help="host:6222 of each server of the cluster.", negative="")] = (),
) -> None:
    """Write accounts.conf (who may do what), nats.conf unless it exists, and a key for each service.

    Keys that exist stay; none is shown. Give each service its own file as WEIR_NATS_SEED_FILE, and run `weir setup`
    with the operator's before the services start.
    """
    if bool(cluster) != bool(route):
        raise UserError("--cluster and --route: a cluster has a name and routes; name both or neither")
    keys = Keys(directory / KEYS)
    for one in region or (load().region,):
        try:
            keys.make(subjects.region(one))
        except subjects.BadTokenError as error:
            raise UserError(f"--region: {error}") from None
    say(f"{brokerconf.write(directory, brokerconf.accounts(keys))}: what each key may do")
    if not (directory / SERVER).exists():
        files = brokerconf.Certificate(cert=f"{tls}/tls.crt", key=f"{tls}/tls.key", ca=f"{tls}/ca.crt")
        text = brokerconf.server(
            name=name, listen=listen, store=store, certificate=files, cluster=cluster, routes=route
        )
        say(f"{brokerconf.write(directory, text, SERVER)}: one server; it wants NATS_STORE_KEY in its environment")
    say(f"{keys.directory}: one key for each service of {', '.join(keys.regions())}; keep them apart")
    say("A running server takes it by `nats-server --signal reload`.")
