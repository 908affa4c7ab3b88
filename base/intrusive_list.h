// A doubly linked list whose nodes live in their owners: no allocation, and a node that dies takes itself out.
#pragma once

#include "base/ensure.h"

namespace holdfast {

template <class T, class Tag = void>
class ListNode {
 public:
  ListNode() = default;
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;
  ~ListNode() { unlink(); }
  bool linked() const { return prev_ != nullptr; }
  void unlink() {
    if (!prev_) return;
    prev_->next_ = next_;
    next_->prev_ = prev_;
    prev_ = next_ = nullptr;
  }

 private:
  template <class U, class G>
  friend class IntrusiveList;
  ListNode* prev_ = nullptr;
  ListNode* next_ = nullptr;
};

template <class T, class Tag = void>
class IntrusiveList {
 public:
  using Node = ListNode<T, Tag>;
  IntrusiveList() { head_.prev_ = head_.next_ = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() {
    while (!empty()) front().Node::unlink();
    head_.prev_ = head_.next_ = nullptr;
  }
  bool empty() const { return head_.next_ == &head_; }
  T& front() { ENSURE(!empty()); return static_cast<T&>(*head_.next_); }
  T& back() { ENSURE(!empty()); return static_cast<T&>(*head_.prev_); }
  void push_back(T& item) { insert(head_.prev_, item); }
  void push_front(T& item) { insert(&head_, item); }
  T& pop_front() {
    T& item = front();
    static_cast<Node&>(item).unlink();
    return item;
  }

  class iterator {
   public:
    explicit iterator(Node* n) : node_(n) {}
    T& operator*() const { return static_cast<T&>(*node_); }
    T* operator->() const { return static_cast<T*>(node_); }
    iterator& operator++() { node_ = node_->next_; return *this; }
    bool operator==(const iterator&) const = default;

   private:
    Node* node_;
  };
  iterator begin() { return iterator(head_.next_); }
  iterator end() { return iterator(&head_); }

 private:
  void insert(Node* after, T& item) {
    Node& node = item;
    ENSURE(!node.linked());
    node.prev_ = after;
    node.next_ = after->next_;
    after->next_->prev_ = &node;
    after->next_ = &node;
  }
  Node head_;
};

}  // namespace holdfast
