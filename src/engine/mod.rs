//! The engines of databases, a room for each: what is peculiar to one is known there and nowhere else.

pub mod postgres;
