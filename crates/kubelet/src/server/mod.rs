//! The agent's HTTP face: 10250 and 10248.
