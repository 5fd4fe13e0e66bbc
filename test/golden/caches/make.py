"""Makes entries.json: what RedisVL, LangChain, LiteLLM and GPTCache themselves write into Redis, recorded on the wire (recorder.py).

Python 3.11 with: redisvl langchain-redis langchain-community langchain-core litellm gptcache redis; a redis-server on the PATH; and for LangChain JS a folder
with @langchain/redis, @langchain/community, @langchain/core, redis and ioredis, given as the second argument (make_langchain_js.mjs).
    python make.py entries.json [folder with node_modules]
Entries that this Python can't make are kept as they are: GPTCache 0.1.44 needs another environment (redis 5.2.1, redis-om 0.2.2) than LangChain.
"""
import asyncio
import base64
import importlib.metadata as metadata
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from recorder import Recorder

ENTRIES = []
VECTOR = [0.125, -0.5, 0.25, 1.0]
QUESTION = "Como faço para trocar a senha do meu roteador?"
ANSWER = "Abra 192.168.0.1 no navegador, entre em \"Administração\" e escolha 'Senha'.\nSalve no fim. ✓"


def start_redis():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", tempfile.mkdtemp()], stdout=subprocess.DEVNULL)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return server, port
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("redis-server did not start")


def printable(argument):
    try:
        return argument.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(argument).decode()}


def keep(layout, writer, recorder, note=None):
    commands = [[printable(argument) for argument in command] for command in recorder.take()]
    if not commands:
        raise RuntimeError(f"{layout}: nothing was written")
    ENTRIES.append({"layout": layout, "writer": writer, **({} if note is None else {"note": note}), "commands": commands})


def version(*names):
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)


def redisvl(recorder):
    from redisvl.extensions.cache.llm import SemanticCache
    from redisvl.utils.vectorize import CustomTextVectorizer

    cache = SemanticCache(name="llmcache", redis_url=f"redis://127.0.0.1:{recorder.port}", vectorizer=CustomTextVectorizer(lambda text: VECTOR), ttl=3600, filterable_fields=[{"name": "tenant", "type": "tag"}])
    recorder.take()
    cache.store(prompt=QUESTION, response=ANSWER, metadata={"model": "gpt-4o"}, filters={"tenant": "acme"})
    cache.store(prompt="What is the capital city of France?", response="Paris")
    keep("redisvl-semantic", version("redisvl"), recorder)


def langchain_redis(recorder):
    from langchain_core.embeddings import Embeddings
    from langchain_core.load import dumps
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
    from langchain_core.outputs import ChatGeneration, Generation
    from langchain_redis import RedisCache, RedisSemanticCache

    class Fixed(Embeddings):
        def embed_documents(self, texts):
            return [VECTOR for _ in texts]

        def embed_query(self, text):
            return VECTOR

    url = f"redis://127.0.0.1:{recorder.port}"
    semantic = RedisSemanticCache(embeddings=Fixed(), redis_url=url)
    recorder.take()
    # What BaseChatModel hands to a cache as the prompt: langchain_core/language_models/chat_models.py, dumps(messages).
    chat = dumps([SystemMessage("Você atende clientes de internet."), HumanMessage(QUESTION)])
    semantic.update(chat, "openai/gpt-4o", [ChatGeneration(message=AIMessage(ANSWER, response_metadata={"model_name": "gpt-4o-2024-08-06"}))])
    semantic.update(QUESTION, "openai/gpt-3.5-turbo-instruct", [Generation(text=ANSWER)])
    keep("langchain-py-redisvl-semantic", version("langchain-redis", "langchain-core", "redisvl"), recorder)
    exact = RedisCache(redis_url=url, ttl=600)
    recorder.take()
    exact.update(chat, "openai/gpt-4o", [ChatGeneration(message=AIMessage(ANSWER))])
    keep("langchain-py-exact", version("langchain-redis", "langchain-core"), recorder)


def langchain_community(recorder):
    import redis
    from langchain_community.cache import RedisCache, RedisSemanticCache
    from langchain_core.embeddings import Embeddings
    from langchain_core.load import dumps
    from langchain_core.messages import AIMessage, HumanMessage
    from langchain_core.outputs import ChatGeneration, Generation

    class Fixed(Embeddings):
        def embed_documents(self, texts):
            return [VECTOR for _ in texts]

        def embed_query(self, text):
            return VECTOR

    exact = RedisCache(redis.Redis(port=recorder.port), ttl=600)
    exact.update(dumps([HumanMessage(QUESTION)]), "openai/gpt-4o", [ChatGeneration(message=AIMessage(ANSWER))])
    keep("langchain-community-exact", version("langchain-community", "langchain-core"), recorder)
    semantic = RedisSemanticCache(redis_url=f"redis://127.0.0.1:{recorder.port}", embedding=Fixed())
    recorder.take()
    semantic.update(QUESTION, "openai/gpt-3.5-turbo-instruct", [Generation(text=ANSWER)])
    semantic.update(dumps([HumanMessage(QUESTION)]), "openai/gpt-4o", [ChatGeneration(message=AIMessage(ANSWER))])
    keep("langchain-community-semantic", version("langchain-community", "langchain-core"), recorder)


def completion():
    """A ModelResponse as LiteLLM makes one, with a tool call in one of two."""
    from litellm.types.utils import ModelResponse

    return ModelResponse(id="chatcmpl-1", created=1764000000, model="gpt-4o-2024-08-06", choices=[{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ANSWER}}], usage={"prompt_tokens": 12, "completion_tokens": 30, "total_tokens": 42})


MESSAGES = [{"role": "system", "content": "Você atende clientes de internet."}, {"role": "user", "content": QUESTION}]


def litellm_caches(recorder):
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm
    from litellm.caching.caching import Cache

    cache = Cache(type="redis", host="127.0.0.1", port=str(recorder.port), password="", ttl=600)
    litellm.cache = cache
    recorder.take()
    cache.add_cache(completion().model_dump_json(), model="gpt-4o", messages=MESSAGES)
    keep("litellm-exact-repr", version("litellm"), recorder, "the synchronous path: str() of a dict")

    async def add():
        await cache.async_add_cache(completion().model_dump_json(), model="gpt-4o", messages=MESSAGES)

    asyncio.run(add())
    keep("litellm-exact-json", version("litellm"), recorder, "the asynchronous path: json.dumps")

    from litellm.caching.redis_semantic_cache import RedisSemanticCache

    RedisSemanticCache._get_embedding = lambda self, prompt, metadata=None: VECTOR
    semantic = RedisSemanticCache(redis_url=f"redis://127.0.0.1:{recorder.port}", similarity_threshold=0.8)
    stored = {"timestamp": 1764000000.25, "response": completion().model_dump_json()}
    semantic.set_cache("0" * 64, stored, messages=MESSAGES, ttl=600)
    semantic.set_cache("1" * 64, stored, messages=[{"role": "user", "content": "What is the capital city of France?"}])
    keep("litellm-semantic", version("litellm", "redisvl"), recorder)


def gptcache(recorder):
    import numpy as np
    from gptcache.manager.scalar_data.base import Answer, CacheData, DataType, Question
    from gptcache.manager.scalar_data.redis_storage import RedisCacheStorage
    from gptcache.manager.vector_data.base import VectorData
    from gptcache.manager.vector_data.redis_vectorstore import RedisVectorStore

    storage = RedisCacheStorage(host="127.0.0.1", port=recorder.port)
    recorder.take()
    storage.batch_insert([CacheData(Question(QUESTION), [Answer(ANSWER, DataType.STR)], np.array(VECTOR, dtype=np.float32)), CacheData(QUESTION, [Answer(ANSWER, DataType.STR)], np.array(VECTOR, dtype=np.float32))])
    keep("gptcache-scalar", version("gptcache", "redis-om"), recorder)
    vectors = RedisVectorStore(host="127.0.0.1", port=str(recorder.port), dimension=4)
    recorder.take()
    vectors.mul_add([VectorData(id=1, data=np.array(VECTOR))])
    keep("gptcache-vector", version("gptcache"), recorder)


def langchain_js(recorder, folder):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "make_langchain_js.mjs")
    copy = os.path.join(folder, "make_langchain_js.mjs")
    shutil.copy(script, copy)
    for which in ("redis", "ioredis"):
        out = subprocess.run(["node", copy, which, str(recorder.port)], check=True, stdout=subprocess.PIPE, text=True)
        keep(f"langchain-js-{which}", out.stdout.strip(), recorder)


def main():
    out = sys.argv[1]
    server, port = start_redis()
    try:
        recorder = Recorder(("127.0.0.1", port))
        for make in (redisvl, langchain_redis, langchain_community, litellm_caches, gptcache):
            try:
                make(recorder)
            except Exception as error:  # said, and left out: a program that doesn't run here has no golden
                print(f"{make.__name__}: {type(error).__name__}: {error}", file=sys.stderr)
                recorder.take()
        if len(sys.argv) > 2:
            langchain_js(recorder, sys.argv[2])
    finally:
        server.kill()
    made = {entry["layout"] for entry in ENTRIES}
    kept = [entry for entry in (json.load(open(out, encoding="utf-8")) if os.path.exists(out) else []) if entry["layout"] not in made]
    with open(out, "w", encoding="utf-8") as file:
        json.dump(sorted(kept + ENTRIES, key=lambda entry: entry["layout"]), file, ensure_ascii=False, indent=1)
        file.write("\n")


main()
os._exit(0)  # threads of the libraries may still wait
