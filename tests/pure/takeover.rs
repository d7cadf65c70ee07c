//! Two daemons, one after the other: what the first one had sent when it fell asleep arrives while the second one acts.

use super::sim::Sim;
use hks::machine::Effect;

impl Sim {
    /// Something happens to the daemons.
    pub fn over(&mut self, words: &[&str]) {
        match words {
            // the Lease goes to another daemon, which reads the record
            ["asleep"] => {
                match self.requests.pop_front() {
                    // what arrives before the other one reads; later it is held to what was seen, and what has changed since stays
                    Some(delete @ Effect::Delete(..)) => drop(self.carry_out(delete)),
                    sent => self.sent.extend(sent.map(|effect| (effect, self.saves))),
                }
                self.crash();
                self.fetch();
            }
            ["arrives"] => {
                if let Some((effect, saves)) = self.sent.pop_front() {
                    self.arrive(effect, saves);
                }
            }
            other => panic!("no command {other:?}"),
        }
    }

    /// What was sent long ago is carried out, and nobody hears of it.
    fn arrive(&mut self, effect: Effect, saves: u64) {
        match effect {
            // of a record that somebody has written since, the API server refuses another one
            Effect::Save(..) if self.saves != saves => {}
            // whose record another one has written reads it anew
            save @ Effect::Save(..) => {
                self.carry_out(save);
                self.crash();
                self.fetch();
            }
            effect => {
                self.carry_out(effect);
                self.take(hks::machine::Event::Observed);
            }
        }
    }
}
