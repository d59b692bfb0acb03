//! Files in, reports out.
//!
//! `reports` holds whole reports, character by character; `rules` walks every
//! rule of the table with a legal and an illegal value; `layers` shows who wins;
//! `bytes` throws anything at the reader.

mod bytes;
mod case;
mod layers;
mod reports;
mod rules;
