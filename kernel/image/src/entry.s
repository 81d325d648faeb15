# The way from the PVH entry to Rust.
#
# The loader (QEMU, or Xen for a PVH domain) jumps to `_start` in 32-bit protected mode, paging off, interrupts off, with
# the address of hvm_start_info in ebx. Source: Xen, docs/misc/pvh.pandoc.
#
# Afterwards: 64-bit mode, the first 4 GiB mapped as they are in pages of 2 MiB, SSE on, interrupts still off, a stack with
# a page below it that boot takes out of the map. Rust is entered as `image_entry(start_info: u64, entry_ticks: u64)`.

# ---- The note that says where to enter: type 18 = XEN_ELFNOTE_PHYS32_ENTRY.
    .section .note.Xen, "a", @note
    .balign 4
    .long 4                         # length of the name
    .long 8                         # length of the value
    .long 18
    .asciz "Xen"
    .quad _start

    .section .text.boot, "ax", @progbits
    .code32
    .global _start
_start:
    cld
    # The first thing: when did the guest begin? Kept in registers nothing below uses.
    rdtsc
    mov esi, eax                    # low half
    mov ebp, edx                    # high half

    # Four page directories of 512 × 2 MiB: present, writable, large.
    mov edi, offset boot_page_directories
    mov eax, 0x83
    mov ecx, 2048
1:  mov dword ptr [edi], eax
    mov dword ptr [edi + 4], 0
    add edi, 8
    add eax, 0x200000
    dec ecx
    jnz 1b

    # The four directories in the table above them, and that in the root.
    mov edi, offset boot_pdpt
    mov eax, offset boot_page_directories
    or eax, 3
    mov ecx, 4
2:  mov dword ptr [edi], eax
    mov dword ptr [edi + 4], 0
    add edi, 8
    add eax, 4096
    dec ecx
    jnz 2b
    mov eax, offset boot_pdpt
    or eax, 3
    mov edi, offset boot_pml4
    mov dword ptr [edi], eax
    mov dword ptr [edi + 4], 0

    # CR4: PAE (5), OSFXSR (9) and OSXMMEXCPT (10), without which SSE faults.
    mov eax, cr4
    or eax, 0x620
    mov cr4, eax
    mov eax, offset boot_pml4
    mov cr3, eax
    # EFER: long mode (8) and no-execute pages (11).
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x900
    wrmsr
    # CR0: clear EM (2) and TS (3), set PE (0), MP (1), NE (5), WP (16), PG (31).
    mov eax, cr0
    and eax, 0xfffffff3
    or eax, 0x80010023
    mov cr0, eax

    # Into the 64-bit code segment by a far return.
    mov eax, offset boot_gdt_pointer
    lgdt [eax]
    mov esp, offset boot_stack_top
    push 0x08
    mov eax, offset long_mode
    push eax
    retf

    .code64
long_mode:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    lea rsp, [rip + boot_stack_top]
    fninit
    push 0x1f80                     # all SSE exceptions masked, round to nearest
    ldmxcsr [rsp]
    add rsp, 8

    mov edi, ebx                    # start_info; the upper halves are cleared by these moves
    mov eax, esi
    mov esi, ebp
    shl rsi, 32
    or rsi, rax                     # entry_ticks
    xor ebp, ebp                    # the outermost frame
    call image_entry
3:  hlt                             # image_entry does not return
    jmp 3b

# ---- Segments: null, code (0x08), data (0x10), and room for the task state segment (0x18), which boot fills in.
    .section .data.boot_gdt, "aw", @progbits
    .balign 16
    .global boot_gdt
boot_gdt:
    .quad 0
    .quad 0x00af9a000000ffff        # code, 64-bit, ring 0
    .quad 0x00cf92000000ffff        # data, ring 0
    .quad 0, 0
boot_gdt_pointer:
    .word 39
    .long boot_gdt
    .long 0

# ---- The stack, above a page that becomes its guard; then the page tables, so that an overflow before the guard is in
#      place (it is set some hundred instructions later) cannot reach them either.
    .section .bss.boot_stack, "aw", @nobits
    .balign 4096
    .global boot_stack_guard
boot_stack_guard:
    .skip 4096
    .skip 262144
    .global boot_stack_top
boot_stack_top:
    .global boot_pml4
boot_pml4:
    .skip 4096
boot_pdpt:
    .skip 4096
    .global boot_page_directories
boot_page_directories:
    .skip 16384
