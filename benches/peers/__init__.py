"""Proxies to measure: each module here starts one of them at its best configuration."""

from benches.peers.base import Needs, Peer, Running
from benches.peers.envoy import Envoy
from benches.peers.fastproxy import FastProxy, Inline, InlineAsyncio, OneWorker, TwoWorkers
from benches.peers.haproxy import HAProxy
from benches.peers.nginx import Nginx, NginxSystem
from benches.peers.relay import Relay
from benches.peers.smg import Smg
from benches.peers.speech import PLAIN, Speech
from benches.peers.vllm_router import VllmRouter

PEERS: dict[str, type[Peer]] = {
    peer.name: peer
    for peer in (
        FastProxy,
        OneWorker,
        TwoWorkers,
        Inline,
        InlineAsyncio,
        Relay,
        Nginx,
        NginxSystem,
        HAProxy,
        Envoy,
        VllmRouter,
        Smg,
    )
}
"""Every proxy by the name that commands and reports use."""

__all__ = ["PEERS", "PLAIN", "Needs", "Peer", "Running", "Speech"]
