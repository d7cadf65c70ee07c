//! Makes inputs of inputs: whatever a hand, a broken disk or somebody with bad intent makes of a text.

use crate::pure::numbers::Numbers;
use std::ops::Range;

/// Words of a format.
pub type Dictionary = &'static [&'static str];

/// What stands between the parts of an input that has several.
pub const CUT: &str = "\n=====\n";

/// Bytes that mean something somewhere.
const BYTES: &[u8] = b"\0\t\n\r\x1b\x7f\x80\xc3\xff \"'$%&*+,-./0:;<=>?@A[\\]^_`a{|}~#";
/// Numbers at which something ends.
const NUMBERS: [&str; 17] = [
    "-1",
    "0",
    "1",
    "00",
    "0.5",
    "1e9",
    "59",
    "60",
    "255",
    "256",
    "65535",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "99999999999999999999999999999999999999999",
];
/// Characters that are not what they look like, or are longer than they look.
const CHARACTERS: [&str; 12] =
    ["é", "ß", "İ", "ﬁ", "\u{202e}", "\u{85}", "\u{2028}", "\u{a0}", "\u{feff}", "e\u{301}", "🦀", "\u{10ffff}"];

/// Changes an input in one to several places.
pub fn mutate(input: &mut Vec<u8>, pool: &[Vec<u8>], words: Dictionary, most: usize, chance: &mut Numbers) {
    loop {
        change(input, pool, words, chance);
        if chance.below(3) == 0 {
            break;
        }
    }
    input.truncate(most);
}

fn change(input: &mut Vec<u8>, pool: &[Vec<u8>], words: Dictionary, chance: &mut Numbers) {
    let place = place(input, chance);
    let part = part(input, chance);
    match chance.below(14) {
        0 if !input.is_empty() => {
            let at = chance.index(input.len());
            input[at] ^= 1 << chance.below(8);
        }
        1 => drop(input.splice(part, [BYTES[chance.index(BYTES.len())]])),
        2 | 3 if !words.is_empty() => drop(input.splice(place..place, chance.one(words).bytes())),
        4 if !words.is_empty() => drop(input.splice(part, chance.one(words).bytes())),
        5 => drop(input.drain(part)),
        6 => {
            let copy = input[part].to_vec();
            input.splice(place..place, copy);
        }
        7 => input.truncate(place),
        8 => {
            let other = &pool[chance.index(pool.len())];
            let from = self::place(other, chance);
            input.truncate(place);
            input.extend(&other[from..]);
        }
        9 => {
            let other = &pool[chance.index(pool.len())];
            let taken = other[self::part(other, chance)].to_vec();
            input.splice(part, taken);
        }
        10 => {
            let digits: Vec<_> = (0..input.len()).filter(|at| input[*at].is_ascii_digit()).collect();
            if let Some(from) = (!digits.is_empty()).then(|| digits[chance.index(digits.len())]) {
                let length = input[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                input.splice(from..from + length, chance.one(&NUMBERS).bytes());
            }
        }
        11 => drop(input.splice(place..place, chance.one(&CHARACTERS).bytes())),
        12 => input[part].iter_mut().for_each(|byte| *byte ^= if byte.is_ascii_alphabetic() { 0x20 } else { 0 }),
        _ => {
            let times = [2, 3, 50, 1000][chance.index(4)];
            let copies = input[part].iter().copied().cycle();
            let length = (times * chance.index(20)).min(1 << 16);
            let copies: Vec<_> = copies.take(length).collect();
            input.splice(place..place, copies);
        }
    }
}

/// A place in an input; half of them where a word begins or ends.
fn place(input: &[u8], chance: &mut Numbers) -> usize {
    let at = chance.index(input.len() + 1);
    if chance.below(2) == 0 {
        return at;
    }
    let is_edge = |at: &usize| {
        let word = |at: usize| input.get(at).is_some_and(u8::is_ascii_alphanumeric);
        *at == 0 || word(*at) != word(at - 1)
    };
    (at..input.len()).find(is_edge).unwrap_or(input.len())
}

/// A part of an input, mostly a short one.
fn part(input: &[u8], chance: &mut Numbers) -> Range<usize> {
    let (a, b) = (place(input, chance), place(input, chance));
    let (from, to) = (a.min(b), a.max(b));
    let longest = [1, 4, 16, 64, usize::MAX][chance.index(5)];
    from..to.min(from.saturating_add(longest))
}

/// The smallest input that is still `wrong` after parts of it were taken out.
pub fn smallest(input: &[u8], tries: usize, wrong: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut smallest = input.to_vec();
    let mut left = tries;
    let mut size = smallest.len().div_ceil(2);
    while size > 0 {
        let (mut at, before) = (0, smallest.len());
        while at < smallest.len() && left > 0 {
            left -= 1;
            let to = (at + size).min(smallest.len());
            let without = [&smallest[..at], &smallest[to..]].concat();
            if wrong(&without) {
                smallest = without;
            } else {
                at = to;
            }
        }
        if smallest.len() == before || left == 0 {
            size /= 2;
        }
    }
    smallest
}

/// The parts of an input, as text; those that are not there are empty.
pub fn parts<const N: usize>(input: &[u8]) -> [String; N] {
    let text = String::from_utf8_lossy(input);
    let mut parts = text.splitn(N, CUT).map(str::to_owned);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}
