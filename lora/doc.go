// Package lora is the adapters: what is trained beside a frozen kernel K [In, Out], how it starts, and
// the low-rank update ΔK it stands for, so that the adapted kernel is K + ΔK and y = x·(K + ΔK).
//
// An Adapter has two methods. Init lists a kernel's factors; Delta says how they multiply. Delta, the
// type, is the one place where ΔK is computed: training, merging, export, spectra and tests call it.
// The methods stand in one table (Methods); a scope picks the kernels they are put on.
//
// The mathematics is that of Yaras, Wang, Balzano and Qu, "Compressible Dynamics in Deep
// Overparameterized Low-Rank Learning & Adaptation" (ICML 2024); comments cite docs/method.md by section.
//
// What does not belong here: encoders, tasks, optimizers (they see Factor.Rate, never a method's name),
// and ways to train that are no low-rank update.
package lora
