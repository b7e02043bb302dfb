"""The `rmlb` command: names, options and exit codes. Thin: each command hands over at once.

Exit codes: 0 done, 1 failed, 2 usage or configuration, 130 interrupted. Errors are one line
on stderr, never a traceback. What a command needs is imported when it runs, so that
`rmlb status` starts in a moment.
"""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rmlb import __version__
from rmlb.cli.failure import CliError

if TYPE_CHECKING:
    from rmlb.cli.client import ApiClient

app = typer.Typer(
    name="rmlb",
    help="A SIP load balancer for a pair of Genesys GVP Resource Managers.",
    epilog="Exit codes: 0 done; 1 failed; 2 wrong usage or configuration; 130 interrupted. "
    "Completion for your shell: rmlb --install-completion",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The TOML file.")]
MemberId = Annotated[int, typer.Argument(metavar="N", help="The member's ID.")]
Api = Annotated[
    str,
    typer.Option(
        "--api",
        envvar="RMLB_API",
        metavar="URL",
        help="Admin API of the running balancer.",
    ),
]
Token = Annotated[
    str,
    typer.Option(
        "--token",
        envvar="RMLB_TOKEN",
        metavar="TOKEN",
        help="[admin] token; better in the environment, where ps does not show it.",
        show_default=False,
    ),
]
CaFile = Annotated[
    str,
    typer.Option(
        "--ca-file",
        envvar="RMLB_CA_FILE",
        metavar="FILE",
        help="PEM file of the authority that signed the API's certificate.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what the API answers.")]

DEFAULT_API = "http://127.0.0.1:8560"

_PASS_ON = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}


def main() -> None:
    """Run the command line and exit with its code."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            app(prog_name="rmlb")
        finally:
            sys.stdout.flush()
    except CliError as error:
        from rmlb.cli.layout import clean

        print(f"rmlb: {clean(error)}", file=sys.stderr)
        sys.exit(error.code)
    except BrokenPipeError:
        # Whoever read our output has gone; keep the interpreter from flushing into the void.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(128 + signal.SIGPIPE)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"rmlb {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="As `version`."),
    ] = False,
) -> None:
    """A SIP load balancer for a pair of Genesys GVP Resource Managers."""


@app.command(
    epilog="Example: rmlb run /etc/rmlb/rmlb.toml", short_help="Run a balancer in the foreground."
)
def run(config: ConfigFile) -> None:
    """Run a balancer in the foreground: SIGTERM drains and stops it, SIGHUP reloads."""
    from rmlb.cli.balancer import run_balancer

    raise typer.Exit(run_balancer(config))


@app.command(
    epilog="Example: rmlb check /etc/rmlb/rmlb.toml --json",
    short_help="Validate a configuration; print what is in effect.",
)
def check(
    config: ConfigFile,
    as_json: Annotated[bool, typer.Option("--json", help="One object: also for errors.")] = False,
) -> None:
    """Validate a configuration; print what is in effect, and warnings. Exit code 2: errors."""
    from rmlb.cli.balancer import check_config

    raise typer.Exit(check_config(config, as_json))


@app.command(
    epilog="Example: rmlb explain /etc/rmlb/rmlb.toml invite.sip --from 10.99.0.20:5060",
    short_help="Say what would become of a SIP message, and by which rule.",
)
def explain(
    config: ConfigFile,
    message: Annotated[Path, typer.Argument(metavar="MESSAGE-FILE", help="Octets as they came.")],
    source: Annotated[
        str,
        typer.Option(
            "--from", metavar="IP:PORT", help="Where they came from.", show_default="the top Via"
        ),
    ] = "",
    transport: Annotated[
        str,
        typer.Option(
            metavar="udp|tcp|tls", help="What they came by.", show_default="the top Via's"
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One object for each message.")] = False,
) -> None:
    """Say what would become of a SIP message, by which rule, and which octets would leave."""
    from rmlb.cli.explain import explain as explain_file

    raise typer.Exit(explain_file(config, message, source, transport, as_json))


@app.command(epilog="Example: rmlb status")
def status(
    api: Api = DEFAULT_API, token: Token = "", ca_file: CaFile = "", as_json: AsJson = False
) -> None:
    """Show the running balancer: virtual IP, members, messages."""
    from rmlb.cli.asking import show_status

    show_status(_client(api, token, ca_file), as_json)


@app.command(epilog="Example: rmlb members --json")
def members(
    api: Api = DEFAULT_API, token: Token = "", ca_file: CaFile = "", as_json: AsJson = False
) -> None:
    """List the members: health, operator state, calls."""
    from rmlb.cli.asking import show_members

    show_members(_client(api, token, ca_file), as_json)


@app.command(epilog="Example: rmlb enable 1")
def enable(
    member: MemberId,
    api: Api = DEFAULT_API,
    token: Token = "",
    ca_file: CaFile = "",
    as_json: AsJson = False,
) -> None:
    """Let a member take new calls again."""
    _set(member, "enabled", api, token, ca_file, as_json)


@app.command(epilog="Example: rmlb drain 1")
def drain(
    member: MemberId,
    api: Api = DEFAULT_API,
    token: Token = "",
    ca_file: CaFile = "",
    as_json: AsJson = False,
) -> None:
    """Give a member no new calls; its calls go on until they end."""
    _set(member, "draining", api, token, ca_file, as_json)


@app.command(
    epilog="Example: rmlb disable 1",
    short_help="Take a member away at once; its calls move to the other.",
)
def disable(
    member: MemberId,
    api: Api = DEFAULT_API,
    token: Token = "",
    ca_file: CaFile = "",
    as_json: AsJson = False,
) -> None:
    """Take a member away at once: its calls belong to the other one from now on."""
    _set(member, "disabled", api, token, ca_file, as_json)


@app.command(
    epilog="Example: rmlb switchover 2",
    short_help="Active-standby: give every new call to the other member.",
)
def switchover(
    member: Annotated[
        int | None,
        typer.Argument(metavar="[N]", help="The member that takes over; else the highest ID."),
    ] = None,
    api: Api = DEFAULT_API,
    token: Token = "",
    ca_file: CaFile = "",
    as_json: AsJson = False,
) -> None:
    """Active-standby: give every new call to the other member; the present one drains."""
    from rmlb.cli.asking import switch_over

    switch_over(_client(api, token, ca_file), member, as_json)


@app.command(
    epilog="Example: rmlb active 2",
    short_help="Active-standby: tell whom the members' own election chose.",
)
def active(
    member: MemberId,
    api: Api = DEFAULT_API,
    token: Token = "",
    ca_file: CaFile = "",
    as_json: AsJson = False,
) -> None:
    """Active-standby: say which member the Resource Managers' own election chose.

    For their FailOverScript. It outranks the balancer's choice while that member is in service.
    """
    from rmlb.cli.asking import tell_active

    tell_active(_client(api, token, ca_file), member, as_json)


@app.command(epilog="Example: rmlb takeover")
def takeover(
    api: Api = DEFAULT_API, token: Token = "", ca_file: CaFile = "", as_json: AsJson = False
) -> None:
    """Make this balancer the owner of the virtual IP."""
    from rmlb.cli.asking import take_over

    take_over(_client(api, token, ca_file), as_json)


@app.command(epilog="Example: rmlb release --force")
def release(
    force: Annotated[
        bool, typer.Option("--force", help="Also where no other balancer is ready.")
    ] = False,
    api: Api = DEFAULT_API,
    token: Token = "",
    ca_file: CaFile = "",
    as_json: AsJson = False,
) -> None:
    """Hand the virtual IP over to the other balancer."""
    from rmlb.cli.asking import release_vip

    release_vip(_client(api, token, ca_file), force, as_json)


@app.command(epilog="Example: rmlb calls --call-id 3c26700c1e93@10.99.0.20")
def calls(
    call_id: Annotated[
        str | None, typer.Option("--call-id", metavar="CALL-ID", help="Find this call.")
    ] = None,
    api: Api = DEFAULT_API,
    token: Token = "",
    ca_file: CaFile = "",
    as_json: AsJson = False,
) -> None:
    """Say how many calls there are, or where one is."""
    from rmlb.cli.asking import show_calls

    show_calls(_client(api, token, ca_file), call_id, as_json)


@app.command(epilog="Example: rmlb events --follow")
def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more.")] = False,
    api: Api = DEFAULT_API,
    token: Token = "",
    ca_file: CaFile = "",
    as_json: AsJson = False,
) -> None:
    """Show what has happened; with --json one object a line."""
    from rmlb.cli.asking import show_events

    try:
        show_events(_client(api, token, ca_file), follow, as_json)
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


@app.command(
    name="import-rm",
    short_help="Make a configuration of Resource Managers' exported options.",
    epilog="Example: rmlb import-rm rm1.cfg rm2.cfg --output rmlb.toml",
)
def import_rm(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Exported options, one for each RM.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="CONFIG", help="Write it there, not to stdout."),
    ] = None,
    beside: Annotated[
        int | None,
        typer.Option(metavar="N", help="The balancer runs on member N's host (Linux)."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Configuration and report.")] = False,
) -> None:
    """Make a configuration of Resource Managers' exported options, and report on each option."""
    from rmlb.cli.import_rm import import_rm as import_files

    raise typer.Exit(import_files(files, out, beside, force, as_json))


@app.command(epilog="Example: rmlb top", short_help="Watch the balancer on the whole screen.")
def top(api: Api = DEFAULT_API, token: Token = "", ca_file: CaFile = "") -> None:
    """Watch the balancer on the whole screen: members, calls, rates, events. q ends it."""
    from rmlb.cli.top import show_top

    try:
        show_top(_client(api, token, ca_file))
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


@app.command(epilog="Example: rmlb trace --call-id 00LO8D4S7O")
def trace(
    call_id: Annotated[
        str,
        typer.Option(
            "--call-id",
            metavar="TEXT",
            help="Only calls with this in their Call-ID or X-Genesys-CallUUID.",
            show_default="every call",
        ),
    ] = "",
    hep: Annotated[
        str,
        typer.Option(
            "--hep",
            metavar="HOST:PORT",
            help="Send them as HEP3 by UDP (Homer, heplify, sngrep), and draw nothing.",
            show_default=False,
        ),
    ] = "",
    sample: Annotated[int, typer.Option(min=1, max=999_999, help="One call in so many.")] = 1,
    text: Annotated[bool, typer.Option("--text", help="Print each message, too.")] = False,
    api: Api = DEFAULT_API,
    token: Token = "",
    ca_file: CaFile = "",
    as_json: AsJson = False,
) -> None:
    """Draw the SIP ladder of calls as it happens. Wants the token where there is one."""
    from rmlb.cli.tracing import show_trace

    try:
        show_trace(_client(api, token, ca_file), call_id, sample, hep, as_json, text)
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


@app.command(
    context_settings=_PASS_ON,
    add_help_option=False,
    epilog="Example: rmlb simulate rm --listen 127.0.0.1:7001",
    short_help="Be a Resource Manager or a SIP Server, for trying out.",
)
def simulate(context: typer.Context) -> None:
    """Be a Resource Manager or a SIP Server, for trying out: simulate rm|sip-server."""
    try:
        from rmlb.cli.simulate import app as simulating
    except ImportError as error:
        raise CliError(f"simulate needs the extra sim: pip install 'rmlb[sim]' ({error})") from None
    simulating(args=context.args, prog_name="rmlb simulate")


vip = typer.Typer(
    help="Move the virtual IP by hand, with no balancer running.", no_args_is_help=True
)
app.add_typer(vip, name="vip")


@vip.command(
    "init",
    epilog="Example: rmlb vip init /etc/rmlb/rmlb.toml",
    short_help="Remove the virtual IP from this host.",
)
def vip_init(config: ConfigFile) -> None:
    """Remove the virtual IP from this host (what INIT_IPTakeOver.bat did)."""
    from rmlb.cli.vip import disable

    raise typer.Exit(disable(config))


@vip.command(
    "enable",
    epilog="Example: rmlb vip enable /etc/rmlb/rmlb.toml --force",
    short_help="Put the virtual IP on this host and announce it.",
)
def vip_enable(
    config: ConfigFile,
    force: Annotated[
        bool, typer.Option("--force", help="Also where another balancer owns it.")
    ] = False,
) -> None:
    """Put the virtual IP on this host and announce it (what IPTakeOver.bat enable X did)."""
    from rmlb.cli.vip import enable

    raise typer.Exit(enable(config, force))


@vip.command(
    "disable",
    epilog="Example: rmlb vip disable /etc/rmlb/rmlb.toml",
    short_help="Remove the virtual IP from this host.",
)
def vip_disable(config: ConfigFile) -> None:
    """Remove the virtual IP from this host (what IPTakeOver.bat disable X did)."""
    from rmlb.cli.vip import disable

    raise typer.Exit(disable(config))


@vip.command(
    "check",
    epilog="Example: rmlb vip check /etc/rmlb/rmlb.toml",
    short_help="Say whether the virtual IP is on this host.",
)
def vip_check(config: ConfigFile) -> None:
    """Exit 0 if the virtual IP is on this host, else 1 (what Check_Ip.vbs did)."""
    from rmlb.cli.vip import check

    raise typer.Exit(check(config))


@vip.command(
    "ping",
    epilog="Example: rmlb vip ping /etc/rmlb/rmlb.toml",
    short_help="Say whether the virtual IP answers an ICMP echo.",
)
def vip_ping(config: ConfigFile) -> None:
    """Exit 0 if the virtual IP answers an ICMP echo, else 1 (what Ping.vbs did)."""
    from rmlb.cli.vip import ping

    raise typer.Exit(ping(config))


@app.command(epilog="Example: rmlb version --json")
def version(
    as_json: Annotated[bool, typer.Option("--json", help="As an object.")] = False,
) -> None:
    """Print the version."""
    if as_json:
        print(f'{{"version": "{__version__}"}}')
    else:
        _print_version(True)


def _client(api: str, token: str, ca_file: str) -> ApiClient:
    from rmlb.cli.client import ApiClient

    return ApiClient(api, token, ca_file)


def _set(member: int, state: str, api: str, token: str, ca_file: str, as_json: bool) -> None:
    from rmlb.cli.asking import set_state

    set_state(_client(api, token, ca_file), member, state, as_json)
