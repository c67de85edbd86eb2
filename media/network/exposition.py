"""Write the metrics in the format that a scraper asks for."""

import gzip
from collections.abc import Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted


def metrics_page(registry: CollectorRegistry, headers: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of the answer to a request with these headers.

    OpenMetrics, with exemplars, where `Accept` names it; else the classic text format. Compressed where that is
    accepted.
    """
    try:
        encode, content_type = choose_encoder(headers.get("Accept", ""))
    except TypeError:  # a version that is no number
        encode, content_type = choose_encoder("")
    body = encode(registry)
    answer = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    if gzip_accepted(headers.get("Accept-Encoding", "")):
        return gzip.compress(body, 5), answer | {"Content-Encoding": "gzip"}
    return body, answer
