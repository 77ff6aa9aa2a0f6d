use super::*;
use crate::clock::{MS, SECOND};

fn fleet(weights: &[u32]) -> Vec<EndpointState> {
    weights
        .iter()
        .map(|&weight| EndpointState::new(weight, 1_000_000))
        .collect()
}

/// Shares of `picks` picks, each of which ends at once.
fn shares(balance: Balance, states: &mut [EndpointState], picks: u32) -> Vec<f64> {
    let mut counts = vec![0_u32; states.len()];
    let mut selector = Selector::new(balance, states);
    let mut random = Random::new(42);
    for _ in 0..picks {
        counts[selector.pick(states, &[], 0, &mut random).unwrap()] += 1;
    }
    counts
        .iter()
        .map(|&n| f64::from(n) / f64::from(picks))
        .collect()
}

#[test]
fn smooth_round_robin_gives_the_sequence_of_nginx() {
    let mut picker = WeightedPicker::new(&[5, 1, 1]);
    let name = |_| ["a", "b", "c"][picker.pick().unwrap()];
    let two_rounds: Vec<_> = (0..14).map(name).collect();
    assert_eq!(two_rounds[..7], ["a", "a", "b", "a", "c", "a", "a"]);
    assert_eq!(two_rounds[7..], two_rounds[..7]);

    let mut states = fleet(&[5, 1, 1]);
    let mut random = Random::new(1);
    let mut one = || pick(Balance::Weighted, &mut states, &[], 0, &mut random).unwrap();
    assert_eq!(
        [one(), one(), one(), one(), one(), one(), one()],
        [0, 0, 1, 0, 2, 0, 0]
    );
}

#[test]
fn the_picker_skips_weight_zero_and_exclusions() {
    let mut picker = WeightedPicker::new(&[0, 2, 1]);
    assert!((0..30).all(|_| picker.pick() != Some(0)));
    assert!((0..30).all(|_| picker.pick_except(&[1]) == Some(2)));
    assert_eq!(picker.pick_except(&[1, 2]), None);
    assert_eq!(WeightedPicker::new(&[0, 0]).pick(), None);
    assert_eq!(WeightedPicker::new(&[]).pick(), None);
}

#[test]
fn least_loaded_fills_by_weight() {
    let mut states = fleet(&[3, 1]);
    let mut selector = Selector::new(Balance::LeastLoaded, &states);
    let mut random = Random::new(1);
    for _ in 0..400 {
        let at = selector.pick(&mut states, &[], 0, &mut random).unwrap();
        states[at].in_flight += 1;
    }
    assert_eq!((states[0].in_flight, states[1].in_flight), (300, 100));
}

#[test]
fn ties_go_around() {
    let shares = shares(Balance::LeastLoaded, &mut fleet(&[1, 1, 1, 1]), 4_000);
    assert!(
        shares.iter().all(|&share| (share - 0.25).abs() < 1e-9),
        "{shares:?}"
    );
}

#[test]
fn many_endpoints_are_drawn_by_weight() {
    let mut weights = vec![1; 30];
    weights[7] = 10;
    for balance in [Balance::Weighted, Balance::LeastLoaded] {
        let mut states = fleet(&weights);
        let shares = shares(balance, &mut states, 100_000);
        // Idle endpoints: least loaded prefers the heavy one of each pair that has it.
        let heavy = if balance == Balance::Weighted {
            10.0 / 39.0
        } else {
            0.447
        };
        assert!(
            (shares[7] - heavy).abs() < 0.01,
            "{balance:?} {}",
            shares[7]
        );
        assert!(
            shares.iter().all(|&share| share > 0.01),
            "{balance:?} {shares:?}"
        );
    }
}

#[test]
fn two_choices_level_the_load() {
    let mut states = fleet(&[1; 100]);
    let mut selector = Selector::new(Balance::LeastLoaded, &states);
    let mut random = Random::new(5);
    for _ in 0..10_000 {
        let at = selector.pick(&mut states, &[], 0, &mut random).unwrap();
        states[at].in_flight += 1;
    }
    let most = states.iter().map(|s| s.in_flight).max().unwrap();
    // One choice would leave a maximum of about 130.
    assert!(most <= 105, "{most}");
}

#[test]
fn the_last_free_one_is_found_among_many() {
    let mut states = fleet(&[1; 500]);
    for state in &mut states {
        state.in_flight = state.concurrency;
    }
    let mut random = Random::new(5);
    assert_eq!(
        pick(Balance::LeastLoaded, &mut states, &[], 0, &mut random),
        None
    );
    for free in [0, 250, 499] {
        states[free].in_flight -= 1;
        for balance in [Balance::LeastLoaded, Balance::Weighted, Balance::PeakEwma] {
            assert_eq!(pick(balance, &mut states, &[], 0, &mut random), Some(free));
            assert_eq!(
                pick(balance, &mut states, &[free as u32], 0, &mut random),
                None
            );
        }
        states[free].in_flight += 1;
    }
}

#[test]
fn skips_full_inactive_ejected_and_excluded() {
    for balance in [Balance::LeastLoaded, Balance::Weighted, Balance::PeakEwma] {
        let mut states = fleet(&[1; 5]);
        states[0].in_flight = states[0].concurrency;
        states[1].active = false;
        states[2].ejected = true;
        states[2].ejected_until_ns = 10;
        let mut random = Random::new(1);
        for _ in 0..20 {
            assert_eq!(pick(balance, &mut states, &[3], 9, &mut random), Some(4));
        }
        assert!(available(&states, &[3], 9) && !available(&states, &[3, 4], 9));
        // Its time is over: one request may try it.
        assert_eq!(
            pick(balance, &mut states, &[3, 4], 10, &mut random),
            Some(2)
        );
        states[2].trials = 1;
        assert_eq!(pick(balance, &mut states, &[3, 4], 10, &mut random), None);
        assert!(reachable(&states, &[3, 4], 10) && !reachable(&states, &[0, 3, 4], 9));
    }
}

#[test]
fn panic_ignores_ejection_only_when_all_are_ejected() {
    let mut states = fleet(&[1; 3]);
    for state in &mut states {
        (state.ejected, state.ejected_until_ns) = (true, 100);
    }
    let mut random = Random::new(1);
    assert!(pick(Balance::LeastLoaded, &mut states, &[], 5, &mut random).is_some());
    assert!(available(&states, &[], 5) && reachable(&states, &[], 5));
    states[0].ejected = false;
    assert_eq!(
        pick(Balance::LeastLoaded, &mut states, &[0], 5, &mut random),
        None
    );
    assert!(!reachable(&states, &[0], 5));
    assert_eq!(
        pick(Balance::LeastLoaded, &mut [], &[], 5, &mut random),
        None
    );
}

#[test]
fn peak_ewma_jumps_up_and_fades() {
    let mut state = EndpointState::new(1, 10);
    state.first_token(100 * MS, SECOND);
    state.first_token(900 * MS, SECOND);
    assert!((state.first_token_ewma_ns - 9e8).abs() < 1.0);
    // Ten seconds later a small value counts 63 %.
    state.first_token(100 * MS, 11 * SECOND);
    let want = 9e8 * (-1.0_f64).exp() + 1e8 * (1.0 - (-1.0_f64).exp());
    assert!((state.first_token_ewma_ns - want).abs() < 1.0);
    // Time going backwards changes nothing for the worse.
    state.first_token(100 * MS, 0);
    assert!(state.first_token_ewma_ns.is_finite() && state.ewma_at_ns == 11 * SECOND);
    let long_after = score(Balance::PeakEwma, &state, u64::MAX, 5.0);
    assert!(long_after > 0.0 && long_after <= 1.0);
}

#[test]
fn peak_ewma_leaves_a_slow_endpoint_and_does_not_flood_a_new_one() {
    let mut states = fleet(&[1, 1, 1]);
    states[0].first_token(100 * MS, 0);
    states[1].first_token(1_000 * MS, 0);
    let mut selector = Selector::new(Balance::PeakEwma, &states);
    let mut random = Random::new(1);
    for _ in 0..120 {
        let at = selector.pick(&mut states, &[], 0, &mut random).unwrap();
        states[at].in_flight += 1;
    }
    let load: Vec<_> = states.iter().map(|s| s.in_flight).collect();
    // Unknown counts as the mean, 550 ms: shares are as 1/100 to 1/1000 to 1/550.
    assert!(
        load[0] > 90 && load[1] < load[2] && (10..20).contains(&load[2]),
        "{load:?}"
    );
}

#[test]
fn scores_explain_the_choice() {
    for balance in [Balance::LeastLoaded, Balance::Weighted, Balance::PeakEwma] {
        let mut states = fleet(&[2, 7, 3]);
        states[1].in_flight = 30;
        states[2].first_token(MS, 0);
        states[0].first_token(5 * MS, 0);
        let unknown = unknown_ns(balance, &states, 0);
        let rank = |state: &EndpointState| score(balance, state, 0, unknown);
        let best = (0..3).min_by(|&a, &b| rank(&states[a]).total_cmp(&rank(&states[b])));
        assert_eq!(
            pick(balance, &mut states.clone(), &[], 0, &mut Random::new(1)),
            best
        );
    }
}
