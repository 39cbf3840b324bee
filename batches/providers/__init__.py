"""The dialects that models speak, by the name an endpoint stores."""

from collections.abc import Mapping

from batches.providers.anthropic import Anthropic
from batches.providers.base import Provider
from batches.providers.demo import Demo
from batches.providers.http import Http
from batches.providers.openai import OpenAI

PROVIDERS: Mapping[str, Provider] = {
    "openai": OpenAI(),
    "anthropic": Anthropic(),
    "http": Http(),
    "demo": Demo(),
}
