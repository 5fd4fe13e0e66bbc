"""Presidio on texts: a JSON list of strings on stdin, what its analyzer found in each on stdout. Uses a spaCy model where one is installed, and says so."""
import json
import sys
import time
from importlib.metadata import version

from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpEngineProvider

model = "no spaCy model: patterns only"
try:
    import en_core_web_lg  # noqa: F401

    model = "en_core_web_lg"
    provider = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": "en_core_web_lg"}]})
    engine = provider.create_engine()
except ImportError:
    import spacy
    from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine

    class Blank(SpacyNlpEngine):
        """A tokeniser and nothing else: names of people and places can't be found without a model."""

        def __init__(self):
            super().__init__(ner_model_configuration=NerModelConfiguration(labels_to_ignore=[]))
            self.nlp = {"en": spacy.blank("en")}

        def load(self):
            pass

        def is_loaded(self):
            return True

    engine = Blank()

analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
texts = json.load(sys.stdin)
analyzer.analyze(text="warm up 1", language="en")
started = time.time()
found = [[{"start": r.start, "end": r.end, "kind": r.entity_type} for r in analyzer.analyze(text=t, language="en")] for t in texts]
seconds = time.time() - started


def units(text, at):
    """Code points to UTF-16 units."""
    return len(text[:at].encode("utf-16-le")) // 2


for text, spans in zip(texts, found):
    for span in spans:
        span["start"], span["end"] = units(text, span["start"]), units(text, span["end"])
json.dump({"version": version("presidio-analyzer"), "model": model, "seconds": seconds, "found": found}, sys.stdout)
