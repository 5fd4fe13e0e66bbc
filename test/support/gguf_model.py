"""What every GGUF file of a Hugging Face config has in common: sizes, and a vocabulary whose words do not matter. For the scripts that ask llama.cpp."""

import gguf


def writer_for(path, architecture, config, file_type):
    """A writer to which only what the architecture has of its own, and the tensors, are still to be added."""
    words = config["vocab_size"]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(words)
    writer.add_file_type(file_type)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"t{at}".encode() for at in range(words)])
    writer.add_token_scores([0.0] * words)
    writer.add_token_types([gguf.TokenType.NORMAL] * words)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    return writer


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
