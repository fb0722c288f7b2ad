//! What is learnt: an objective reads the decoder's last hidden state and hands back its gradient.

pub mod next_token;
