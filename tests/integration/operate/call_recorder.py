"""Run `python -m tests.integration.operate.call_recorder FILE MODULE …`: a module that records its calls to AWS.

One JSON object per line: service, operation and the parameters that name a resource. Presigned calls are missing,
because the users of the URLs make them.
"""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

from media.aws.clients import Clients

NAMES = ("Bucket", "Key", "VersionId", "QueueUrl", "CopySource", "Tagging", "Role", "SourceArn", "DestinationArn")


def places(settings: Any, name: str) -> list[str]:
    """Return every value of a name in the settings of a job, however deep."""
    if isinstance(settings, dict):
        own = [settings[name]] if name in settings else []
        return own + [place for part in settings.values() for place in places(part, name)]
    return [place for part in settings for place in places(part, name)] if isinstance(settings, list) else []


def record(path: Path) -> None:
    """Make every client append its calls to `path` from now on."""
    open_client = Clients._client

    async def client(self: Clients, service: str, endpoint: str | None, settings: Any) -> Any:
        client = await open_client(self, service, endpoint, settings)

        def append(params: dict[str, Any], model: Any, **_: Any) -> None:
            named = {name: params[name] for name in NAMES if name in params}
            versions = any("VersionId" in entry for entry in params.get("Delete", {}).get("Objects", ()))
            if "Delete" in params:
                named |= {"Key": params["Delete"]["Objects"][0]["Key"], "VersionId": versions or None}
            if service == "events":
                named["EventBusName"] = params.get("Name") or params["Entries"][0]["EventBusName"]
            if model.name == "CreateJob":
                found = {f"{name}s": places(params["Settings"], name) for name in ("FileInput", "Destination")}
                named |= found
            with path.open("a") as file:
                file.write(json.dumps({"service": service, "operation": model.name, "params": named}) + "\n")

        client.meta.events.register(f"provide-client-params.{service}.*", append)
        return client

    Clients._client = client  # type: ignore[method-assign] # this process exists to record


if __name__ == "__main__":
    record(Path(sys.argv[1]))
    module = sys.argv[2]
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__")
