//! The smart client: routes by digest, pipelines, says what is safe to retry.
