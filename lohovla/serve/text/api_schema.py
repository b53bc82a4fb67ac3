"""What may be asked: the requests of OpenAI's completions and chat, with the decoder's own settings beside."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _whole(value: Any) -> Any:
    """A number without a fraction is a whole one, however JSON writes it: 15.0 is 15."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Natural = Annotated[int, Field(ge=0, lt=2**31), BeforeValidator(_whole)]
Positive = Annotated[int, Field(ge=1, lt=2**31), BeforeValidator(_whole)]
Few = Annotated[int, Field(ge=1, le=16), BeforeValidator(_whole)]
Ranks = Annotated[int, Field(ge=0, le=20), BeforeValidator(_whole)]
Seed = Annotated[int, Field(ge=-(2**53), le=2**53), BeforeValidator(_whole)]
Block = Annotated[int, Field(ge=1, le=1024), BeforeValidator(_whole)]
Stop = Annotated[str, Field(min_length=1, max_length=200)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
TokenId = Annotated[str, Field(pattern="^[0-9]{1,9}$")]
Bias = Annotated[dict[TokenId, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=1024)]
Nothing = Annotated[list[Any], Field(max_length=0)]

NOT_SUPPORTED = "Not supported; what asks for nothing is taken."


class StreamOptions(BaseModel):
    """Of a stream."""

    model_config = ConfigDict(strict=True, extra="forbid")

    include_usage: bool = Field(False, description="End with a chunk that counts the tokens.")


class TextFormat(BaseModel):
    """Of an answer: text as it comes."""

    model_config = ConfigDict(strict=True, extra="forbid")

    type: Literal["text"]


class JsonObjectFormat(BaseModel):
    """Of an answer: an object in JSON."""

    model_config = ConfigDict(strict=True, extra="forbid")

    type: Literal["json_object"]


class NamedSchema(BaseModel):
    """A JSON schema under a name."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: Annotated[str, Field(max_length=64)] | None = Field(None, description="Not used.")
    description: str | None = Field(None, description="Not used: say in the messages what is wanted.")
    definition: dict[str, Any] = Field(alias="schema")
    strict: bool | None = Field(None, description="Not used: the schema is always kept.")


class JsonSchemaFormat(BaseModel):
    """Of an answer: JSON by a schema."""

    model_config = ConfigDict(strict=True, extra="forbid")

    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


class Common(BaseModel):
    """What both have in common. Numbers are numbers: ``"0.5"`` is refused, as is a field that nobody knows."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    model: Annotated[str, Field(max_length=300)] = Field(description="One of `/v1/models`; `NAME:MODE` picks a mode.")
    n: Few | None = Field(1, description="Answers to each prompt.")
    temperature: float | None = Field(None, ge=0, le=2, description="0, the default, takes the likeliest tokens.")
    top_p: float | None = Field(None, gt=0, le=1)
    seed: Seed | None = Field(None, description="Of the draws; a new one each time if null.")
    stop: Stop | Annotated[list[Stop], Field(max_length=8)] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    user: str | None = Field(None, description="Not used.")
    frequency_penalty: Penalty | None = Field(None, description="Taken from a token's logit for each time it was said.")
    presence_penalty: Penalty | None = Field(None, description="Taken from the logits of tokens that were said.")
    logit_bias: Bias | None = Field(None, description="Token ids, each with what is added to its logit.")
    metadata: Annotated[dict[str, Any], Field(max_length=0)] | None = Field(None, description=NOT_SUPPORTED)
    store: Literal[False] | None = Field(None, description=NOT_SUPPORTED)
    service_tier: Literal["auto", "default"] | None = Field(None, description=NOT_SUPPORTED)
    safety_identifier: str | None = Field(None, description="Not used.")
    prompt_cache_key: str | None = Field(None, description="Not used: what begins alike shares its cache.")

    response_format: ResponseFormat | None = Field(
        None, description="`json_schema`, `json_object` or `text`; JSON is decoded from the left, block by block."
    )

    min_p: float | None = Field(
        None, ge=0, le=1, description="Drop tokens less likely than this share of the likeliest."
    )
    ignore_eos: bool | None = Field(False, description="Go on to max_tokens, whatever the model would end with.")
    top_k: Natural | None = Field(None, description="Draw from so many likeliest tokens; 0 is all.")
    min_tokens: Natural | None = Field(None, description="No end before so many.")
    repetition_penalty: float | None = Field(None, gt=0, le=100)
    block: Block | None = Field(None, description="Tokens a block.")
    accept: float | None = Field(None, ge=0, le=2, description="Confidence above which a token is accepted.")
    add: float | None = Field(None, ge=0, le=1, description="Progress of the last block at which the next is added.")
    activate: float | None = Field(None, ge=0, le=1, description="Progress of the block before that forces this one.")
    width: Few | None = Field(None, description="Branches or drafts, in the modes that have them.")
    provisional: bool = Field(False, description="In a stream, also show the blocks that are not decided yet.")

    @property
    def schema_wanted(self) -> dict[str, Any] | None:
        """The JSON schema that answers keep to."""
        if isinstance(self.response_format, JsonSchemaFormat):
            return self.response_format.json_schema.definition
        return {"type": "object"} if isinstance(self.response_format, JsonObjectFormat) else None

    @property
    def answers(self) -> int:
        """Answers to each prompt."""
        return self.n or 1

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def ranks(self) -> int | None:
        """Alternatives to report; None reports no log-probabilities."""
        return None

    @property
    def most(self) -> int | None:
        """Tokens at most."""
        return None


class CompletionRequest(Common):
    """A text to go on from."""

    prompt: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=64)]
        | Annotated[list[Natural], Field(min_length=1, max_length=2**17)]
        | Annotated[
            list[Annotated[list[Natural], Field(min_length=1, max_length=2**17)]], Field(min_length=1, max_length=64)
        ]
    ) = Field(description="A text, token ids, or a list of either.")
    max_tokens: Positive | None = None
    logprobs: Ranks | None = Field(None, description="Alternatives to report for each token.")
    echo: bool | None = Field(
        False, description="Begin each answer with its prompt; with `logprobs` (mode ar) with those of the prompt too."
    )
    suffix: None = Field(None, description=NOT_SUPPORTED)
    best_of: Annotated[int, Field(ge=1, le=1), BeforeValidator(_whole)] | None = Field(None, description=NOT_SUPPORTED)

    @property
    def ranks(self) -> int | None:
        """Alternatives to report; None reports no log-probabilities."""
        return self.logprobs

    @property
    def most(self) -> int | None:
        """Tokens at most."""
        return self.max_tokens


class ContentPart(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(strict=True)

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """A turn of a conversation. Fields that answers have and requests do not need are ignored."""

    model_config = ConfigDict(strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[ContentPart], Field(min_length=1, max_length=1000)]

    @property
    def text(self) -> str:
        """All of its parts."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(Common):
    """A conversation to go on with."""

    messages: list[Message] = Field(min_length=1, max_length=1000)
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    logprobs: bool | None = False
    top_logprobs: Ranks | None = None
    tools: Nothing | None = Field(None, description=NOT_SUPPORTED)
    tool_choice: Literal["none", "auto"] | None = Field(None, description=NOT_SUPPORTED)
    parallel_tool_calls: bool | None = Field(None, description="Not used: there are no tools.")
    functions: Nothing | None = Field(None, description=NOT_SUPPORTED)
    function_call: Literal["none", "auto"] | None = Field(None, description=NOT_SUPPORTED)
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = Field(None, description=NOT_SUPPORTED)
    audio: None = Field(None, description=NOT_SUPPORTED)
    prediction: None = Field(None, description=NOT_SUPPORTED)
    reasoning_effort: Literal["none"] | None = Field(None, description=NOT_SUPPORTED)
    web_search_options: None = Field(None, description=NOT_SUPPORTED)

    @property
    def ranks(self) -> int | None:
        """Alternatives to report; None reports no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def most(self) -> int | None:
        """Tokens at most."""
        return self.max_completion_tokens or self.max_tokens


class ErrorBody(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """A refusal."""

    error: ErrorBody
